"""Evidence of a recipe, made by hand."""

from clipclean.config.recipe import Evidence, Measured, MeasuredRate, Versions


def measured(accuracy=0.5, attack=0.5, base=0.5):
    """What was measured on 400 images; half of them are classified rightly under the trigger."""
    rates = {"clean_accuracy": accuracy, "attack_success": attack, "base_rate": base, "accuracy_under_trigger": 0.5}
    return Measured(**{name: MeasuredRate(value=rate, interval=(0.0, 1.0), n=400) for name, rate in rates.items()})


def evidence(**changes):
    """A block of a recipe's evidence: two seeds of one attack on a tiny model."""
    values = {"recipe_sha256": "0" * 64, "attack": "patch", "architecture": "tiny", "data": "pairs", "pairs": 4000}
    values |= {"seeds": (0, 1), "before": measured(), "after": measured()}
    return Evidence(**values | {"versions": Versions(clipclean="0", torch="0", open_clip="0")} | changes)
