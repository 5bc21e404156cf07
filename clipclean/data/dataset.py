"""A clean set: image-caption pairs whose images all decode."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clipclean import files
from clipclean.data import listing as listings
from clipclean.data import sample
from clipclean.data.cache import Image, ImageCache
from clipclean.data.loading import prefetch
from clipclean.data.sample import DataRequest, IgnoredFiles, ImageSource, Listing, SampleEntry, Unusable
from clipclean.errors import RefusedInput
from clipclean.schema.report import DataRecord, SkippedRecord
from clipclean.untrusted import printable

NO_CAPTION = "no caption, or an empty one"

Progress = Callable[[int, int], None]  # samples done, samples in all


@dataclass(frozen=True)
class Pair:
    """One image with its caption."""

    key: str  # where in the set it is; printable
    caption: str  # one line without control characters, at most 10 kB; empty only where captions were not asked for
    label: str | None  # class name or number as text, where the set has one
    image: Image  # decoded on demand


@dataclass(frozen=True)
class CleanSet:
    """A data set read from a path."""

    pairs: tuple[Pair, ...]  # in the order of the set
    skipped: tuple[SkippedRecord, ...]  # samples that cannot be used
    # Hex SHA-256 over the sorted lines "<SHA-256 of the encoded image> <caption>": the same whatever the order, the names and the
    # container.
    digest: str
    format: str  # "folder", "csv", "tsv", "jsonl", "json", "coco", "parquet", "arrow", "webdataset", or "several"
    sources: tuple[Path, ...]  # as they were given
    ignored: tuple[IgnoredFiles, ...]  # files that belong to no sample or are never read

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def name(self) -> str:
        """The sources in a message."""
        return files.joined_words(self.sources)

    def record(self) -> DataRecord:
        """The report's ``data``."""
        return DataRecord.of(self, name=" + ".join(source.name for source in self.sources), pairs=len(self.pairs))


def read(
    *sources: Path,
    images: ImageCache,
    image_key: str | None = None,
    caption_key: str | None = None,
    templates: Sequence[str] = (),
    progress: Progress | None = None,
) -> CleanSet:
    """Read image-caption pairs from local disk and decode every image once.

    A source is one of: a folder of images with ``.txt`` of the same stem; a folder with ``captions.{jsonl,csv,tsv}`` or
    ``metadata.{jsonl,csv}``, or with splits that have one; a CSV or TSV file, JSON lines or a JSON array; COCO's captions or the
    folder around them; Parquet, or a folder that ``datasets`` saved; a WebDataset ``.tar`` or a folder of them; a pattern
    such as ``shard-{000..003}.tar`` or ``*.tar``. Several are one set.

    Args:
        sources: where the set is.
        images: takes the decoded images in; those beyond its limits are skipped. Where the set is larger than
            ``max_pairs``, the pairs taken are spread over it, chosen by a hash of their keys.
        image_key: column, or extension in a shard, of the images; None looks for a known one.
        caption_key: column, or JSON key, of the captions; None looks for a known one.
        templates: caption templates with ``{}`` for the class, for images that have a label and no caption.
        progress: called with samples done and samples in all.

    Raises:
        RefusedInput: missing, remote, damaged or of no known format; nothing usable; too much skipped.
        UsageError: the columns are missing or ambiguous.

    Example:
        >>> clean = read(Path("clean"), images=images)
        >>> clean.pairs[0].caption
        'a red square'
    """
    request = DataRequest(image_key, caption_key, labels_serve=bool(templates))
    listing = listings.find(sources, request, scratch=images.scratch)
    listing.entries = [_with_caption(entry, templates) for entry in listing.entries] if templates else listing.entries
    return _clean_set(sources, listing, images=images, captions=True, progress=progress)


def read_images(*sources: Path, images: ImageCache, progress: Progress | None = None) -> CleanSet:
    """Like ``read``, for images that need no captions; a caption that is there is kept."""
    listing = listings.find(sources, DataRequest(captions=False), scratch=images.scratch)
    return _clean_set(sources, listing, images=images, captions=False, progress=progress)


def _with_caption(entry: SampleEntry, templates: Sequence[str], /) -> SampleEntry:
    """The sample with a caption about its class, by a template drawn by its key, if it has none of its own."""
    if entry.caption or not entry.label or entry.label.isdecimal():
        return entry
    digest = hashlib.sha256(entry.key.encode()).digest()
    form = templates[int.from_bytes(digest[:8], "big") % len(templates)]
    return replace(entry, caption=sample.caption(form.replace("{}", re.sub(r"[\s_]+", " ", entry.label))))


def _clean_set(
    sources: tuple[Path, ...], listing: Listing, /, *, images: ImageCache, captions: bool, progress: Progress | None
) -> CleanSet:
    entries = listing.entries
    limit = images.limits.max_pairs or len(entries)
    total = min(limit, len(entries))
    digests: dict[int, str] = {}  # of the encoded images, by the row of what can be used
    problems: dict[int, str] = {}  # by the row of what cannot

    def look(rows: Sequence[int]) -> tuple[str, dict[int, str]]:
        return _look([(row, entries[row]) for row in rows], images=images, captions=captions)

    for digest, faults in prefetch(_by_image(entries, is_spread=limit < len(entries)), look):
        digests |= {row: digest for row, fault in faults.items() if not fault}
        problems |= {row: fault for row, fault in faults.items() if fault}
        if progress is not None:
            progress(min(len(digests) + len(problems), total), total)
        if len(digests) >= limit:
            break
    used_rows = sorted(digests)[:limit]
    pairs = tuple(
        Pair(entry.key, entry.caption, entry.label, Image(entry.image, images))
        for entry in (entries[row] for row in used_rows)
        if entry.image is not None  # an entry without one is never usable
    )
    skipped = tuple(SkippedRecord(key=entries[row].key, reason=problems[row]) for row in sorted(problems))
    name = printable(files.joined_words(sources))
    _refuse_if_poor(name, listing, len(pairs), skipped, max_share=images.limits.max_skipped_share)
    hasher = hashlib.sha256()
    for image, caption in sorted((digests[row], entries[row].caption) for row in used_rows):
        hasher.update(f"{image} {caption}\n".encode())  # unambiguous: a caption has no line break
    return CleanSet(pairs, skipped, hasher.hexdigest(), listing.format, sources, tuple(listing.ignored.values()))


def _by_image(entries: Sequence[SampleEntry], /, *, is_spread: bool) -> list[list[int]]:
    """Places of the samples, those of one image together, in the order of the set or of a hash of the keys."""
    together: dict[ImageSource | int, list[int]] = {}
    for row, entry in enumerate(entries):
        together.setdefault(row if entry.image is None else entry.image, []).append(row)
    groups = list(together.values())
    if is_spread:
        groups.sort(key=lambda rows: hashlib.sha256(entries[rows[0]].key.encode()).digest())
    return groups


def _look(
    samples: Sequence[tuple[int, SampleEntry]], /, *, images: ImageCache, captions: bool
) -> tuple[str, dict[int, str]]:
    """The digest of the encoded image that samples share, and what is wrong with each; empty where nothing is."""
    faults: dict[int, str] = {}
    for row, entry in samples:
        lack = "no image" if entry.image is None else ""
        faults[row] = entry.problem or lack or (NO_CAPTION if captions and not entry.caption else "")
    image = samples[0][1].image
    if image is None or all(faults.values()):
        return "", faults
    try:
        data = image.load(max_bytes=images.limits.max_bytes)
        images.admit(image, data)
    except Unusable as error:
        return "", {row: fault or str(error) for row, fault in faults.items()}
    return hashlib.sha256(data).hexdigest(), faults


def _refuse_if_poor(
    name: str, listing: Listing, usable: int, skipped: Sequence[SkippedRecord], /, *, max_share: float
) -> None:
    total = usable + len(skipped)
    if usable and len(skipped) <= max_share * total:
        return
    ignored = "".join(f"\n  ignored: {kind}" for kind in listing.ignored.values())
    if not total:
        raise RefusedInput(
            f"{name} ({listing.format}) holds no samples. Give images (JPEG, PNG, WebP) with captions.{ignored}"
        )
    if (
        not usable
        and any(entry.label for entry in listing.entries)
        and all(record.reason == NO_CAPTION for record in skipped)
    ):
        raise RefusedInput(
            f"{name} ({listing.format}) has {len(skipped):,} images without a caption, and labels. To make captions of the "
            f"labels, give caption templates by --templates FILE, one a line, such as 'a photo of a {{}}.'.{ignored}"
        )
    reasons = sample.some_lines([f"{record.key}: {record.reason}" for record in skipped])
    raise RefusedInput(
        f"{len(skipped):,} of {total:,} samples of {name} ({listing.format}) cannot be used, and a share of "
        f"{max_share:g} is allowed (max_skipped_share). Mend or remove them:{reasons}{ignored}"
    )
