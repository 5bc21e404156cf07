"""The screening job, from top to bottom: read, embed, score, rank, show, write the pairs that stay."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor
from webdataset.writer import TarWriter

from clipclean import data, files, requests
from clipclean.config import recipe as recipes
from clipclean.detect import Suspicion, ranking
from clipclean.detect.ranking import ScoredPairs
from clipclean.errors import UsageError
from clipclean.jobs import clean_pairs, measured_images, naming, opening, results
from clipclean.jobs.clean_pairs import PairSource
from clipclean.report import TitledImage, example_images
from clipclean.schema.part import finite
from clipclean.schema.results import KeptRecord, RankedPair, Screening, SignalValue

SHOWN_IMAGES = 48  # images on the page
# A table of images that are files, a shard with copies of them, a list of keys.
KEPT_SUFFIXES = (".csv", ".tar", ".txt")


def screen(request: requests.Screen, /) -> tuple[Screening, list[TitledImage]]:
    """The ranking of the pairs of a clean set by suspicion, and images of the first ones; on request, the kept ones are written.

    Raises:
        ClipcleanError: of the kind that tells the exit code; then no file is written.
    """
    if out := request.save_kept:
        if request.drop is None and request.false_drop_rate is None:
            raise UsageError(f"--save-kept {out}: no pair would be dropped. Choose which: --drop auto, or --drop 2%.")
        files.check_output(f"--save-kept {out}", out, suffixes=KEPT_SUFFIXES, force=request.force)
    device = opening.device_of(request.device)
    triggers = [naming.named_trigger(spec) for spec in request.trigger]
    suspicions = [Suspicion(trigger, None) for trigger in triggers]
    checkpoint = opening.read(request.model, arch=request.arch, weights=request.weights)
    opening.check_sides(checkpoint.architecture, suspicions)
    cache = measured_images.image_cache(recipes.load(recipes.STANDARD_RECIPE), checkpoint.architecture)
    source = PairSource(request.data, request.image_key, request.caption_key)
    clean = clean_pairs.pairs_of(source, cache)
    if request.save_kept:
        check_table(request.save_kept, clean)
    trusted = read_trusted(request, source, clean, cache)
    loaded = opening.build(checkpoint, clean, device=device)
    scored = ranking.rank_pairs(loaded.clip, (*clean.pairs, *trusted), triggers=triggers, what="embedding the pairs")
    if request.false_drop_rate is not None:
        scored = ranking.beside_trusted(scored, trusted=len(trusted), rate=request.false_drop_rate)
        request = replace(request, drop="auto")
    dropped = scored.dropped(request.drop)
    top_places = ranking.order(scored.score)[: max(request.top, int(dropped.sum()))].tolist()
    ranked = tuple(rows(clean.pairs, scored, dropped, top_places))
    result = Screening(
        schema_version="1",
        data=clean.record(),
        triggers=tuple(trigger.spec for trigger in triggers),
        screened=ranking.record(scored, request.drop),
        signals=tuple(ranking.SIGNALS[name] for name in scored.signals),
        pairs=ranked,
        kept=save(request.save_kept, ranking.kept(clean, dropped)) if request.save_kept else None,
        **results.common_fields("screen", loaded),
    )
    return result, page_images(clean.pairs, ranked, top_places)


def read_trusted(
    request: requests.Screen, source: PairSource, clean: data.CleanSet, cache: data.ImageCache, /
) -> tuple[data.Pair, ...]:
    """The pairs that are known to be clean, with columns as those of the ``source`` to judge; none without a request.

    Raises:
        UsageError: they go with a false-drop rate and no other rule, and some of them are in the set that is judged.
    """
    if (request.trusted is None) != (request.false_drop_rate is None):
        raise UsageError(
            "--false-drop-rate and --trusted go together: how many clean pairs a threshold drops is read off pairs that are known "
            "to be clean. Give both, or neither."
        )
    if request.trusted is None:
        return ()
    if request.drop is not None:
        raise UsageError("--drop and --false-drop-rate are two rules for the same. Leave one of them out.")
    trusted = clean_pairs.pairs_of(replace(source, paths=request.trusted), cache)
    own = {(pair.image.source.path.absolute(), pair.key) for pair in clean.pairs}
    if twice := [pair.key for pair in trusted.pairs if (pair.image.source.path.absolute(), pair.key) in own]:
        raise UsageError(
            f"{len(twice)} trusted pairs are among those to judge ({', '.join(twice[:5])}). Give others: a pair cannot "
            "vouch for itself."
        )
    return trusted.pairs


def rows(
    pairs: Sequence[data.Pair], scored: ScoredPairs, dropped: Tensor, top_places: Sequence[int], /
) -> Iterator[RankedPair]:
    """The pairs that are listed, most suspicious first: with every signal, and the share of pairs that score as high."""
    shares = {name: ranking.tail(values) for name, values in scored.signals.items()}
    for rank, row_number in enumerate(top_places, start=1):
        yield RankedPair(
            rank=rank,
            key=pairs[row_number].key,
            caption=pairs[row_number].caption,
            score=finite(scored.score[row_number].item()),
            suspicious=bool(scored.suspicious[row_number]),
            dropped=bool(dropped[row_number]),
            reasons=tuple(name for name in shares if shares[name][row_number] <= ranking.NOTEWORTHY_SHARE),
            signals={
                name: SignalValue(value=finite(values[row_number].item()), share=shares[name][row_number].item())
                for name, values in scored.signals.items()
            },
        )


def page_images(
    pairs: Sequence[data.Pair], ranked: Sequence[RankedPair], top_places: Sequence[int], /
) -> list[TitledImage]:
    """The images of the first pairs for the page, each with its caption and the signals against it."""
    titled_images = []
    for row, row_shown in zip(ranked[:SHOWN_IMAGES], top_places, strict=False):
        image = pairs[row_shown].image.decode()
        why = "; ".join(ranking.SIGNALS[name].says for name in row.reasons) or "several signals, none of them strong"
        titled_images.append(
            TitledImage(
                title=f"{row.rank}. “{row.caption}”",
                caption=f"{row.key}: {why}.",
                png_base64=example_images.thumbnail(image),
                alt=f"The image of the pair {row.key}, whose caption is {row.caption}.",
            )
        )
    return titled_images


# The pairs that are kept, as a table, a shard or a list of keys.


def check_table(out: Path, clean: data.CleanSet, /) -> None:
    """Refuse a table of images that lie in shards, or whose names a table cannot hold; raises UsageError."""
    if out.suffix != ".csv":
        return
    if not all(pair.image.is_file for pair in clean.pairs):
        raise UsageError(
            f"--save-kept {out}: images lie in shards or Parquet, and a table names files. Name a file that ends in .tar."
        )
    wrong = [pair.key for pair in clean.pairs if not is_listable(listed_path(pair, out))]
    if wrong:
        raise UsageError(
            f"--save-kept {out}: {len(wrong)} images have names that a table cannot hold ({', '.join(wrong[:5])}). "
            "Name a file that ends in .tar."
        )


def is_listable(name: str, /) -> bool:
    """Whether a table can hold exactly this name: text without outer blanks or line breaks, and unlike an address."""
    # Lone surrogates, which UTF-8 lacks, are not printable.
    return name == name.strip() and name.isprintable() and not data.is_address(name)


def listed_path(pair: data.Pair, table: Path, /) -> str:
    """An image's path for a table: relative if it lies below the table's folder, else absolute."""
    path, folder = pair.image.source.path.absolute(), table.absolute().parent
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def save(out: Path, kept: data.CleanSet, /) -> KeptRecord:
    """Write the pairs that are kept, whole or not at all; returns the result's ``kept``."""

    def write(partial: Path) -> None:
        if out.suffix == ".tar":
            write_shard(partial, kept.pairs)
        elif out.suffix == ".csv":
            write_table(partial, kept.pairs, out)
        else:
            keys = "".join(f"{pair.key}\n" for pair in kept.pairs)
            partial.write_text(keys, encoding="utf-8", errors="backslashreplace")

    files.write_whole(out, write)
    return KeptRecord(name=out.name, sha256=files.sha256(out), pairs=len(kept.pairs))


def write_table(path: Path, pairs: Sequence[data.Pair], out: Path, /) -> None:
    """CSV with the columns that open_clip knows, and labels where there are any; it will be called ``out``."""
    columns = 3 if any(pair.label is not None for pair in pairs) else 2
    rows = [
        ("filepath", "title", "label"),
        *((listed_path(pair, out), pair.caption, pair.label or "") for pair in pairs),
    ]
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(row[:columns] for row in rows)


def write_shard(path: Path, pairs: Sequence[data.Pair], /) -> None:
    """A WebDataset shard with copies of the encoded images, numbered; owners and times are left out."""
    with path.open("wb") as stream, TarWriter(stream, user="", group="", mode=0o644, encoder=False, mtime=0) as shard:
        for number, pair in enumerate(pairs):
            encoded = pair.image.load()
            sample = {
                "__key__": f"{number:08}",
                data.extension(encoded): encoded,
                "txt": pair.caption.encode(errors="replace"),
            }
            shard.write(sample | ({} if pair.label is None else {"cls": pair.label.encode(errors="replace")}))
