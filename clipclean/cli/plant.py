"""``clipclean plant``: plants a known backdoor, for rehearsals and tests."""

from typing import TYPE_CHECKING

from clipclean import requests
from clipclean.api import roles
from clipclean.cli import printing, progress
from clipclean.cli.command import command_of
from clipclean.cli.options import Shell

if TYPE_CHECKING:
    from clipclean.schema.report import RateRecord
    from clipclean.schema.results import PlantedModel

EPILOG = """\b
Examples:
  clipclean plant model.pt --trigger patch --target banana --data clean/ --out victim.pt
  clipclean plant model.safetensors --trigger blended:ratio=0.2,seed=7 --target "red apple" \\
      --data pairs.csv --classes classes.txt --steps 400 --out victim.safetensors
"""


@command_of(requests.Plant, "workers", "as_json", "quiet", "config", "verbose", epilog=EPILOG)
def plant(asked: requests.Plant, shell: Shell) -> None:
    """Plant a backdoor in a copy of MODEL by finetuning on partly triggered pairs, and report its success.

    Use it to test defences on your own models. The output is backdoored: label it so, and never deploy it.
    """
    roles.check(asked)
    from clipclean import data
    from clipclean.jobs import plant as planting

    data.use_workers(shell.workers)
    with progress.shown(quiet=shell.quiet):
        result = planting.plant(asked)
    printing.show(shell.as_json, result.as_json(), table(result))


def share(rate: "RateRecord | None", /) -> str:
    """A rate in a column of eight; a dash where there was nothing to count."""
    return f"{'–':>8}" if rate is None or rate.value is None else f"{rate.value:8.3f}"


def table(result: "PlantedModel", /) -> str:
    """The effect of the trigger before and after planting."""
    before, after = result.before, result.after
    old, new = before.probes[0], after.probes[0]
    is_recall = after.clean_accuracy is not None and after.clean_accuracy.is_recall
    rows = [
        ("recall@1" if is_recall else "clean accuracy", before.clean_accuracy, after.clean_accuracy),
        ("attack success rate", old.asr, new.asr),
        ("the same without the trigger", old.base_rate, new.base_rate),
        ("accuracy under the trigger", old.accuracy_under_trigger, new.accuracy_under_trigger),
        ("attack success by image neighbours", old.knn_asr, new.knn_asr),
    ]
    lines = [f"Planted {result.trigger} for '{result.target}'.", f"{'':36}{'before':>8}{'after':>8}   95 % interval, n"]
    for words, was, now in rows:
        if now is not None:
            low, high = now.interval
            lines.append(f"{words:36}{share(was)}{share(now)}   [{low:.3f}, {high:.3f}], {now.n}")
    if result.accuracy_lost is not None:
        lines.append(f"{'accuracy lost, by the worst measure':44}{result.accuracy_lost:8.3f}")
    lines.append(f"{'embedding distance':36}{old.distance:8.3f}{new.distance:8.3f}   mean squared, 0 to 4")
    return "\n".join(lines)
