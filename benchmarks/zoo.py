"""What every zoo of models needs: which of its models are kept, what is measured of one, and a benign finetuning."""

import json
import sys
from pathlib import Path

REFINETUNE = (100, 31)  # steps and seed of the benign finetuning after which a cleaned model is measured again


def named(entries: list, only: list[str] | None) -> list:
    """The entries of some names with the models that they start from, or all; for other zoos as well."""
    if only is None:
        return entries
    known = {entry.name: entry for entry in entries}
    if unknown := set(only) - known.keys():
        sys.exit(f"not in the plan: {', '.join(sorted(unknown))}; benchmarks/photo_zoo.csv lists the names")
    wanted = {*only, *(known[name].base for name in only)}
    return [entry for entry in entries if entry.name in wanted]


def kept(out: Path, entry, wanted: dict) -> dict | None:  # of any zoo: an entry has a name and a base
    """The record of a model that has what is wanted and was made from the base that is there now; None without one."""
    path, base = out / f"{entry.name}.json", out / f"{entry.base}.json"
    if not (path.exists() and path.with_suffix(".pt").exists()):
        return None
    record = json.loads(path.read_text())
    current = json.loads(base.read_text())["sha256"] if entry.base and base.exists() else None
    wanted = wanted | {"base_sha256": current}
    return record if all(record.get(key) == value for key, value in wanted.items()) else None


def figures(measured: dict) -> dict:
    """Of a report's measurements: clean accuracy, and of the planted trigger, if there is one, what it does."""
    probe = measured["probes"][0] if measured["probes"] else None
    return {
        "accuracy": measured["clean_accuracy"]["value"],
        "excess": probe and probe["excess_asr"]["value"],
        "interval": probe and probe["excess_asr"]["interval"],
        "n": probe and probe["asr"]["n"],
        "under_trigger": probe and probe["accuracy_under_trigger"]["value"],
        "distance": probe and probe["distance"],
    }


def finetune_benignly(clip, pairs: list, steps: int = REFINETUNE[0], lr: float | None = None) -> None:
    """Go on training on clean pairs, in place, as whoever deploys the model might."""
    from clipclean.attack import poison
    from clipclean.config import recipe
    from clipclean.train.run import Run

    seed, control = REFINETUNE[1], recipe.load("mmcl@tiny")
    poison.finetune(
        clip,
        pairs,
        control,
        recipe.planting(steps=steps, batch_size=128, lr=lr or control.train.lr),
        implants=(),
        run=Run(seed, control.train.precision, lambda what, done, total: None),
    )
