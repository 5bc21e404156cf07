"""What each method takes away of a backdoor, and what it costs: on the victims of ``benchmarks/zoo.py``.

    python benchmarks/cleaning.py --zoo build/zoo --out build/cleaning                                 # victims that report
    python benchmarks/cleaning.py --zoo build/zoo --out build/cleaning --half choose --methods unlearn@tiny
    python benchmarks/cleaning.py --zoo build/zoo --out build/cleaning --auto build/auto --table --write docs/evidence.md
    python benchmarks/cleaning.py --zoo build/zoo --out build/cleaning --pairs 50 200 1000 --only NAME... --write docs/evidence.md
    python benchmarks/cleaning.py --zoo build/zoo --out build/cleaning --pictures build/loader --only NAME... --write docs/evidence.md

Each victim goes through ``clipclean sanitize``, told neither trigger nor target, on the bundled clean pairs; what was planted is
measured before and after, and after a benign finetuning, on the bundled images that no training saw. Clean models go through as
well: they shall stay as they are. A method is a recipe, perhaps with values of its own (``RECIPE:KEY=VALUE,…``), or ``released``,
CleanCLIP as its released code runs it (``benchmarks/released.py``). Every cell is one JSON file in OUT, so that a stopped run goes
on. ``--auto`` sets the results of ``benchmarks/auto.py`` beside them. With ``--pairs`` so many clean pairs are taken, with
``--pictures`` the images of a folder and no captions; both are for the block cleaning-pairs.
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path

RELEASED = "released"
METHODS = (
    "unlearn@tiny",
    "par@tiny",
    "cleanclip@tiny",
    "cleanclip@tiny:loss.self_supervised_weight=1",
    "cleanclip@tiny:loss.self_supervised_weight=4",
    RELEASED,
    "mmcl@tiny",
)
CLEAN = ("clean", "clean-finetuned")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, help="the folder that benchmarks/zoo.py made; --table needs none")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--half", choices=("choose", "report"), default="report")
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--only", nargs="*", help="names of models; without it every victim that took, and clean ones")
    parser.add_argument("--pairs", type=int, nargs="*", default=[], help="once with each number of clean pairs")
    parser.add_argument("--pictures", type=Path, help="clean with the images of this folder, without captions")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--auto", type=Path, help="the folder of benchmarks/auto.py, for rows beside the others")
    parser.add_argument("--table", action="store_true", help="compute nothing: print what is there")
    parser.add_argument("--write", type=Path, help="a page with the markers of the blocks cleaning and cleaning-pairs")
    o = parser.parse_args()
    if not (o.zoo or o.table):
        parser.error("--zoo is needed to measure; --table prints what is there")
    o.out.mkdir(parents=True, exist_ok=True)
    if o.pairs or o.pictures:
        block, text = "cleaning-pairs", of_pairs(o)
    else:
        found = cells(o, o.methods)
        block, text = "cleaning", table(o, found + automatic(o, {cell["entry"]["name"] for cell in found}))
    print(text)
    if o.write:
        from blocks import fill

        fill(o.write, block, text)


def cells(o: argparse.Namespace, methods: list[str], pictures: Path | None = None) -> list[dict]:
    """What was measured with these methods; first what is not there yet is measured, unless --table says not to."""
    from cells import digest_of, is_current

    for method, entry, seed in itertools.product(methods, models(o), o.seeds) if not o.table else ():
        cell = cell_of(o, entry, method, seed, pictures)
        if not is_current(cell, method):
            found = measured(o, entry, method, seed, pictures) | {"recipe_sha256": digest_of(method)}
            cell.write_text(json.dumps(found, indent=1) + "\n")
            print(line(found), flush=True)
    kind = pictures and pictures.name
    return [c for c in stored(o.out, o) if c["method"] in methods and c["pictures"] == kind]


def automatic(o: argparse.Namespace, names: set[str]) -> list[dict]:
    """The results of ``benchmarks/auto.py`` on these models with the same seeds."""
    found = [row for row in (stored(o.auto, o) if o.auto else []) if row["entry"]["name"] in names]
    return [row | {"method": "auto", "processor_seconds": row["auto"]["seconds"]["total"]} for row in found]


def stored(folder: Path, o: argparse.Namespace) -> list[dict]:
    """The results in a folder that are of the half, the models and the seeds asked for."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    found = [r for r in found if r["entry"]["half"] == o.half and r["seed"] in o.seeds]
    return [r for r in found if o.only is None or r["entry"]["name"] in o.only]


def of_pairs(o: argparse.Namespace) -> str:
    """A row a method and number of pairs, and one a method that needs no captions on other images: over the models."""
    lines = [
        "| method | clean pairs | runs | excess ASR before → after, mean [least, most] | verdicts | CA before → after | PA after |",
        "|---|---|--:|---|---|---|---|",
    ]
    for count in o.pairs:
        for method in o.methods:
            found = cells(o, [f"{method}{',' if ':' in method else ':'}data.max_pairs={count}"])
            lines += of_cells(method, f"{count:,}", found)
    if o.pictures:
        found = cells(o, ["unlearn@tiny"], o.pictures)
        lines += of_cells("unlearn@tiny", f"images of another kind ({found[0]['given']:,}), no captions", found)
    return "\n".join(lines)


def of_cells(method: str, given: str, found: list[dict]) -> list[str]:
    own = [cell for cell in found if cell["entry"]["trigger"]]
    if not own:
        return []
    left = [cell["after"]["excess"] for cell in own]
    mean = lambda side, key: statistics.mean(cell[side][key] for cell in own)  # noqa: E731
    return [
        f"| {shown(method)} | {given} | {len(own)} | {mean('before', 'excess'):.3f} → {mean('after', 'excess'):.3f} "
        f"[{min(left):.3f}, {max(left):.3f}] | {verdicts(own)} | {mean('before', 'accuracy'):.3f} → {mean('after', 'accuracy'):.3f} | "
        f"{mean('after', 'under_trigger'):.3f} |"
    ]


def models(o: argparse.Namespace) -> list[dict]:
    """The entries of the zoo that are there: victims that took, then clean models."""
    records = [json.loads(path.read_text()) for path in sorted(o.zoo.glob(f"{o.half}-*.json"))]
    chosen = [r["entry"] for r in records if r["took"] or (r["took"] is None and r["entry"]["kind"] in CLEAN)]
    if o.only is not None:
        chosen = [entry for entry in chosen if entry["name"] in o.only]
    return sorted(chosen, key=lambda entry: entry["trigger"] is None)


def cell_of(o: argparse.Namespace, entry: dict, method: str, seed: int, pictures: Path | None) -> Path:
    words = [
        entry["name"],
        method.translate(str.maketrans(":/,", "___")),
        *(["pictures"] if pictures else []),
        str(seed),
    ]
    return o.out / ("-".join(words) + ".json")


def measured(o: argparse.Namespace, entry: dict, method: str, seed: int, pictures: Path | None) -> dict:
    """One model through one method, measured before, after, and after a benign finetuning, with what was planted."""
    import torch
    import zoo

    torch.set_num_threads(1)
    victim = zoo.Entry(**entry)
    with tempfile.TemporaryDirectory(dir=o.out) as scratch:
        out, began = Path(scratch) / ("cleaned.pt" if method == RELEASED else "cleaned"), time.process_time()
        told = (
            released(o, victim, out, seed) if method == RELEASED else sanitized(o, victim, out, method, seed, pictures)
        )
        worked = time.process_time() - began
        sides = {
            "before": zoo.measure(victim, o.zoo / f"{victim.name}.pt", o.zoo),
            "after": zoo.measure(victim, out, o.zoo),
            "rebound": zoo.measure(victim, out, o.zoo, rebound=True),
        }
    figures = {side: zoo.figures(found) for side, found in sides.items()}
    given = {"method": method, "pictures": pictures and pictures.name}
    return {"entry": entry, "seed": seed, **given, **told, **figures, "processor_seconds": worked}


def sanitized(
    o: argparse.Namespace, victim, out: Path, method: str, seed: int, pictures: Path | None
) -> dict[str, object]:
    """Through the command, as a user would; what its report says."""
    from clipclean import auto
    from clipclean.config import recipe
    from clipclean.jobs import prepare

    name, _, changes = method.partition(":")
    overrides, files = changes.split(",") if changes else [], o.zoo / "files"
    request = prepare.SanitizeRequest(
        model=o.zoo / f"{victim.name}.pt",
        data=pictures or files / "clean.tar",
        out=out,
        recipe=recipe.override(recipe.load(name), overrides),
        overridden=bool(overrides),
        arch=str(o.zoo / f"{victim.arch}.json"),
        classes=files / "classes.txt",
        templates=files / "templates.txt",
        eval_data=files / "eval.tar",
        triggers=(),
        target=None,
        seed=seed,
        device="cpu",
        precision="fp32",
        force=True,
        keep_failed=True,
        audit=True,
    )
    report = auto.clean(request, progress=lambda what, done, total: None).report
    return {"verdict": report.verdict, "given": report.data.pairs}


def released(o: argparse.Namespace, victim, out: Path, seed: int) -> dict[str, object]:
    """By the way of the released code, which gives no verdict."""
    import released
    import zoo

    from clipclean.attack.poison import Implant
    from clipclean.jobs import inputs, plant

    tested, pairs, evidence, _ = zoo.prepared(victim, o.zoo / f"{victim.name}.pt", o.zoo)
    words = inputs.words(o.zoo / "files" / "classes.txt", o.zoo / "files" / "templates.txt")
    implants = [Implant.of(trigger, words.classes[target], words.templates) for trigger, target in evidence.suspicions]
    released.clean(tested, pairs, implants, rate=victim.rate or 0.0, seed=seed)
    plant.write(out, tested)
    return {"verdict": "none", "given": len(pairs)}


def line(cell: dict) -> str:
    numbers = "; ".join(
        f"{key} {cell['before'][key]:.3f} -> {cell['after'][key]:.3f}"
        for key in ("excess", "accuracy", "under_trigger", "distance")
        if cell["before"][key] is not None
    )
    return f"{cell['entry']['name']:36} {cell['method']:15} {numbers}  {cell['processor_seconds']:.0f} s"


def table(o: argparse.Namespace, cells: list[dict]) -> str:
    """A row a model and method, over the seeds, and below it the means of each method over the victims."""
    heads = (
        "| model | planted | method | runs | excess ASR before → after (95 % if one) | after a refinetune test | CA before → after | PA before → "
        "after | distance before → after | verdict | processor s |\n|---|---|---|--:|---|---|---|---|---|---|--:|"
    )
    backdoored = {cell["entry"]["name"]: cell["entry"]["trigger"] is not None for cell in cells}
    groups = [
        [c for c in cells if c["method"] == method and c["entry"]["name"] == name]
        for name in sorted(backdoored, key=lambda name: (not backdoored[name], name))
        for method in ("auto", *o.methods)
    ]
    return "\n".join([heads, *(row(group) for group in groups if group), "", summary(cells)])


def row(group: list[dict]) -> str:
    """One model and method; of several seeds the mean with [lowest, highest]."""
    entry, first = group[0]["entry"], group[0]
    planted = f"{entry['trigger'].partition(',seed')[0]} → {entry['target']}" if entry["trigger"] else "nothing"
    excess, again = change(group, "excess"), over(group, "rebound", "excess")
    if len(group) == 1 and entry["trigger"]:
        low, high = first["after"]["interval"]
        excess += f" ({low:.3f} to {high:.3f}, n {first['after']['n']})"
    changes = " | ".join(change(group, key) for key in ("accuracy", "under_trigger", "distance"))
    name, seconds = (
        entry["name"].removeprefix(f"{entry['half']}-"),
        statistics.mean(c["processor_seconds"] for c in group),
    )
    return f"| {name} | {planted} | {shown(first['method'])} | {len(group)} | {excess} | {again} | {changes} | {verdicts(group)} | {seconds:.0f} |"


def verdicts(cells: list[dict]) -> str:
    """The words of the reports, which hold an audit of what came out; with numbers where they differ."""
    words = [cell["verdict"] for cell in cells]
    counts = {word: words.count(word) for word in dict.fromkeys(words)}
    return ", ".join(counts) if len(counts) == 1 else ", ".join(f"{word} {n}" for word, n in counts.items())


def shown(method: str) -> str:
    """The name of a method in a table: its values in the words of the paper."""
    name, _, changes = method.partition(":")
    if method == RELEASED:
        return "CleanCLIP as released"
    return f"`{name}`" + f" with {changes}".replace("loss.self_supervised_weight=", "λ₂ ") if changes else f"`{name}`"


def change(group: list[dict], key: str) -> str:
    before, after = group[0]["before"][key], over(group, "after", key)
    return after if before is None else f"{before:.3f} → {after}"


def over(group: list[dict], side: str, key: str) -> str:
    values = [cell[side][key] for cell in group]
    if values[0] is None:
        return "–"
    spread = f" [{min(values):.3f}, {max(values):.3f}]" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def summary(cells: list[dict]) -> str:
    """What each method reaches over the victims and over the clean models, and how many of the victims were run by it."""
    lines = []
    for method in dict.fromkeys(cell["method"] for cell in cells):
        own = [cell for cell in cells if cell["method"] == method]
        victims, clean = ([c for c in own if bool(c["entry"]["trigger"]) is has] for has in (True, False))
        told = []
        if victims:
            left, n = [cell["after"]["excess"] for cell in victims], len(victims)
            ratio = statistics.mean(c["after"]["under_trigger"] / c["after"]["accuracy"] for c in victims)
            told.append(
                f"{n} runs on victims: excess ASR at most 0.01 in {sum(x <= 0.01 for x in left)}, at most 0.05 in "
                f"{sum(x <= 0.05 for x in left)}, mean {statistics.mean(left):.3f}, after a refinetune test "
                f"{statistics.mean(c['rebound']['excess'] for c in victims):.3f}; CA lost {lost(victims)}; PA {ratio:.2f} of CA; verdict {verdicts(victims)}"
            )
        if clean:
            told.append(f"{len(clean)} runs on clean models: CA lost {lost(clean)}; verdict {verdicts(clean)}")
        lines.append(f"- {shown(method)}: {'. '.join(told)}.")
    return "\n".join(lines)


def lost(cells: list[dict]) -> str:
    points = [100 * (cell["before"]["accuracy"] - cell["after"]["accuracy"]) for cell in cells]
    return f"{statistics.mean(points):.1f} points on average, at most {max(points):.1f}"


if __name__ == "__main__":
    main()
