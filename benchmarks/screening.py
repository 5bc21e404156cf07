"""Poisoned pairs hidden in the clean set: where screening ranks them, for every victim of the zoo of ``benchmarks/zoo.py``.

    python benchmarks/screening.py --zoo build/zoo --out build/screening                          # rank, once a victim
    python benchmarks/screening.py --zoo build/zoo --out build/screening --write docs/evidence.md
    python benchmarks/screening.py --zoo build/zoo --out build/screening --sanitize NAME...       # and clean from them

Of the bundled clean pairs 5 in 1,000 get the victim's own trigger and a caption of its target, in six forms that other
captions of the set have as well (``templates``); or, harder, they keep their own caption and the target's name follows it
(``appended``), so that no two are alike. The signal ``found`` is given nothing, except in the column ``trigger known``.
What was ranked stands in OUT/NAME.json, so that a stopped run goes on. Weights and the rule ``auto`` were chosen on the
half ``choose``. ``--sanitize`` cleans from the poisoned pairs, told neither trigger nor target, with and without ``--screen auto``.
"""

import argparse
import functools
import io
import json
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path

from blocks import fill

SHARE = 0.005  # of the pairs
TOP = 0.02
TEMPLATES = ("{}", "a drawing of a {}", "an emoji of a {}", "a picture of a {}", "a small {}", "the {} icon")
CAPTIONS = ("templates", "appended")  # of the poisoned pairs
SIGNALS = ("repetition", "gathering", "instability", "disagreement", "density", "isolation")
RECIPES = ("cleanclip@tiny", "par@tiny", "unlearn@tiny")  # that clean from poisoned pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sanitize", nargs="*", default=[], metavar="NAME", help="clean these victims too")
    parser.add_argument("--recipes", nargs="*", default=RECIPES, help="that clean them")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="rank these victims only")
    parser.add_argument("--write", type=Path, help="a page with the markers of the block screening")
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    import torch

    torch.set_num_threads(1)
    for record in victims(o.zoo):
        name = record["entry"]["name"]
        if (o.only is None or name in o.only) and not (o.out / f"{name}.json").exists():
            write_json(o.out / f"{name}.json", ranked(o, record["entry"]))
            print(name, flush=True)
        for recipe in o.recipes if name in o.sanitize else ():
            if not (place := o.out / f"{name}-{recipe}-sanitize.json").exists():
                write_json(place, cleaned(o, record["entry"], recipe))
                print(f"{name}: cleaned by {recipe}", flush=True)
    text = table(o)
    print(text)
    if o.write:
        fill(o.write, "screening", text)


def victims(zoo: Path) -> list[dict]:
    """Records of the models whose backdoor took, those that choose first; without optimised triggers, which have no spelling."""
    found = [json.loads(path.read_text()) for path in sorted(zoo.glob("*-*.json"))]
    found = [record for record in found if record.get("took") and record["entry"]["trigger"] != "optimised-patch"]
    return [record for record in found if (zoo / f"{record['entry']['name']}.pt").exists()]


def write_json(path: Path, value: dict) -> None:
    from clipclean import files

    files.write_text(path, json.dumps(value, indent=1) + "\n")


# Hiding and ranking.


@functools.cache
def clean_pairs(zoo: Path):
    """The bundled clean pairs."""
    from clipclean import data
    from clipclean.config import recipe
    from clipclean.jobs import inputs

    return data.read(zoo / "files" / "clean.tar", images=data.ImageCache(inputs.limits(recipe.load(recipe.DEFAULT))))


def poison(zoo: Path, entry: dict, captions: str) -> dict[int, tuple[bytes, str]]:
    """By the number of the pair: an image with the trigger, as PNG, and its caption."""
    import torch
    from PIL import Image

    from clipclean import model
    from clipclean.attack import triggers

    clean = clean_pairs(zoo)
    rng = torch.Generator().manual_seed(entry["seed"])
    order = torch.randperm(len(clean), generator=rng).tolist()
    free = [number for number in order if entry["target"] not in clean.pairs[number].caption]
    trigger, found = triggers.parse(entry["trigger"]), {}
    for number in sorted(free[: round(SHARE * len(clean))]):
        pair = clean.pairs[number]
        pixels = model.unit_range(pair.image.decode())[None]
        image = (trigger(pixels, rng)[0] * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        form = TEMPLATES[int(torch.randint(len(TEMPLATES), (1,), generator=rng))]
        caption = (
            form.replace("{}", entry["target"]) if captions == "templates" else f"{pair.caption}, {entry['target']}"
        )
        found[number] = stream.getvalue(), caption
    return found


def write_shard(path: Path, samples: Iterable[tuple[bytes, str]]) -> None:
    with tarfile.open(path, "w") as opened:
        for number, (picture, caption) in enumerate(samples):
            for suffix, value in (
                ("png" if picture.startswith(b"\x89PNG") else "webp", picture),
                ("txt", caption.encode()),
            ):
                member = tarfile.TarInfo(f"{number:05}.{suffix}")
                member.size = len(value)
                opened.addfile(member, io.BytesIO(value))


def ranked(o: argparse.Namespace, entry: dict) -> dict:
    """For each kind of captions the share of the pairs that score as high as each poisoned one, by signal and combined."""
    from clipclean import data
    from clipclean.attack import triggers
    from clipclean.config import recipe
    from clipclean.detect import ranking
    from clipclean.jobs import inputs

    began = time.process_time()
    weights, arch, chosen = (
        o.zoo / f"{entry['name']}.pt",
        str(o.zoo / f"{entry['arch']}.json"),
        recipe.load(recipe.DEFAULT),
    )
    tested, clean = inputs.load(weights, o.zoo / "files" / "clean.tar", chosen, arch=arch, device="cpu")
    clip = tested.clip
    look = functools.partial(
        ranking.embedded,
        clip,
        triggers=[triggers.parse(entry["trigger"])],
        progress=lambda done, total: None,
    )
    seen, result = look(clean.pairs), {"entry": entry}
    result["none"] = {"blind": shares(ranking.scored(seen._replace(gathered=seen.gathered[:0])), [])}
    for captions in CAPTIONS:
        hidden, shard = poison(o.zoo, entry, captions), o.out / f"{entry['name']}-poison.tar"
        write_shard(shard, hidden.values())
        few = look(data.read(shard, images=inputs.image_cache(chosen, clip.architecture)).pairs)
        shard.unlink()
        mixed = with_rows(seen, few, list(hidden))
        result[captions] = {
            "blind": shares(ranking.scored(mixed._replace(gathered=mixed.gathered[:0])), list(hidden)),
            "known": shares(ranking.scored(mixed), list(hidden)),
        }
    return result | {"seconds": time.process_time() - began}


def with_rows(seen, few, places: list[int]):
    """What was embedded of the clean set, with the poisoned pairs in these places."""

    def put(whole, part, dim):
        changed = whole.clone()
        changed.index_copy_(dim, torch.tensor(places), part)
        return changed

    import torch

    return seen._replace(
        images=put(seen.images, few.images, 0),
        views=put(seen.views, few.views, 1),
        captions=put(seen.captions, few.captions, 0),
        looks=put(seen.looks, few.looks, 0),
    )


def shares(found, hidden: list[int]) -> dict:
    import torch

    from clipclean.detect import screening

    chosen = torch.zeros(len(found.score), dtype=torch.bool)
    chosen[hidden] = True
    return {
        "pairs": len(chosen),
        "tails": {
            name: [round(share, 5) for share in screening.tail(values)[chosen].tolist()]
            for name, values in {**found.signals, "combined": found.score}.items()
        },
        "auto": int(found.suspicious[chosen].sum()),
        "auto_clean": int(found.suspicious[~chosen].sum()),
    }


def cleaned(o: argparse.Namespace, entry: dict, name: str) -> dict:
    """What ``sanitize`` makes of a victim: from clean pairs, from poisoned ones, from poisoned ones that were screened."""
    import tempfile

    import zoo

    from clipclean import auto
    from clipclean.config import recipe
    from clipclean.jobs import prepare

    bundled, victim = o.zoo / "files", zoo.Entry(**entry)
    model = o.zoo / f"{victim.name}.pt"
    result = {"entry": entry, "recipe": name, "before": zoo.figures(zoo.measure(victim, model, o.zoo))}
    clean = clean_pairs(o.zoo)
    hidden = poison(o.zoo, entry, "templates")
    for label, poisoned, screen in (("clean", {}, "off"), ("poisoned", hidden, "off"), ("screened", hidden, "auto")):
        own = ((pair.image.load(), pair.caption) for pair in clean.pairs)
        with tempfile.TemporaryDirectory(dir=o.out) as scratch:
            shard, out = Path(scratch) / "pairs.tar", Path(scratch) / "out"
            write_shard(shard, (poisoned.get(number, sample) for number, sample in enumerate(own)))
            request = prepare.SanitizeRequest(
                model=model,
                data=shard,
                out=out,
                recipe=recipe.load(name),
                overridden=False,
                arch=str(o.zoo / f"{victim.arch}.json"),
                classes=bundled / "classes.txt",
                templates=bundled / "templates.txt",
                eval_data=bundled / "eval.tar",
                triggers=(),
                target=None,
                seed=entry["seed"],
                device="cpu",
                precision="fp32",
                force=True,
                keep_failed=True,
                audit=False,
                screen=screen,
            )
            made = auto.clean(request, progress=lambda what, done, total: None).report.as_json()
            result[label] = zoo.figures(zoo.measure(victim, out, o.zoo))
        result[f"{label}_dropped"] = made["data"]["screened"] and made["data"]["screened"]["dropped"]
    return result


# The table.


def table(o: argparse.Namespace) -> str:
    found = [
        json.loads(path.read_text()) for path in sorted(o.out.glob("*.json")) if not path.stem.endswith("-sanitize")
    ]
    found = [record for record in found if "templates" in record]
    lines = [
        f"Poisoned pairs among the first {TOP:.0%} of the ranking, of those that are hidden:",
        "",
        "| victim | backdoor | "
        + " | ".join(SIGNALS)
        + " | **combined** | combined, captions appended | trigger known, appended "
        "| `auto` finds | of clean pairs | of a clean set |",
        "|---|---|" + "---|" * (len(SIGNALS) + 6),
    ]
    for half in ("choose", "report"):
        ours = [record for record in found if record["entry"]["half"] == half]
        lines += [row(record) for record in ours]
        if ours:
            lines.append(summary(half, ours))
    made = [json.loads(path.read_text()) for path in sorted(o.out.glob("*-sanitize.json"))]
    if made:
        lines += [
            "",
            "What cleaning makes of a victim, by the pairs that it is given (excess ASR; clean accuracy; accuracy under the trigger):",
            "",
            "| victim | recipe | before | clean pairs | poisoned, not screened | poisoned, `--screen auto` | dropped |",
            "|---|---|---|---|---|---|--:|",
            *map(cleaning_row, made),
        ]
    return "\n".join(lines)


def hits(tails: list[float]) -> str:
    return f"{sum(tail <= TOP for tail in tails)}/{len(tails)}"


def row(record: dict) -> str:
    entry, easy, hard = record["entry"], record["templates"], record["appended"]
    tails, n = easy["blind"]["tails"], len(easy["blind"]["tails"]["combined"])
    pairs = easy["blind"]["pairs"]
    cells = [
        entry["name"],
        f"{entry['trigger']} → {entry['target']}",
        *(hits(tails[name]) for name in SIGNALS),
        f"**{hits(tails['combined'])}**",
        hits(hard["blind"]["tails"]["combined"]),
        hits(hard["known"]["tails"]["combined"]),
        f"{easy['blind']['auto']}/{n}",
        f"{easy['blind']['auto_clean'] / (pairs - n):.1%}",
        f"{record['none']['blind']['auto_clean'] / record['none']['blind']['pairs']:.1%}",
    ]
    return f"| {' | '.join(cells)} |"


def summary(half: str, records: list[dict]) -> str:
    """Pooled over the victims of a half, and on how many of them at least 4 of 5 poisoned pairs are among the first."""

    def pooled(captions: str, sight: str, name: str) -> str:
        tails = [tail for record in records for tail in record[captions][sight]["tails"][name]]
        enough = sum(reached(record[captions][sight]["tails"][name]) for record in records)
        return f"{sum(tail <= TOP for tail in tails) / len(tails):.2f}; {enough} of {len(records)}"

    blind = [record["templates"]["blind"] for record in records]
    hidden = sum(len(b["tails"]["combined"]) for b in blind)
    clean = sum(b["pairs"] for b in blind) - hidden
    none = [record["none"]["blind"] for record in records]
    cells = [
        f"**{half}**, {len(records)} victims",
        "share; victims with at least 4 of 5",
        *(pooled("templates", "blind", name) for name in SIGNALS),
        f"**{pooled('templates', 'blind', 'combined')}**",
        pooled("appended", "blind", "combined"),
        pooled("appended", "known", "combined"),
        f"{sum(b['auto'] for b in blind) / hidden:.2f}",
        f"{sum(b['auto_clean'] for b in blind) / clean:.2%}",
        f"{sum(b['auto_clean'] for b in none) / sum(b['pairs'] for b in none):.2%}",
    ]
    return f"| {' | '.join(cells)} |"


def reached(tails: list[float]) -> bool:
    return sum(tail <= TOP for tail in tails) >= 0.8 * len(tails)


def cleaning_row(record: dict) -> str:
    def told(figures: dict) -> str:
        return f"{figures['excess']:.3f}; {figures['accuracy']:.3f}; {figures['under_trigger']:.3f}"

    cells = [record["entry"]["name"], f"`{record['recipe']}`"]
    cells += [told(record[label]) for label in ("before", "clean", "poisoned", "screened")]
    return f"| {' | '.join([*cells, str(record['screened_dropped'])])} |"


if __name__ == "__main__":
    main()
