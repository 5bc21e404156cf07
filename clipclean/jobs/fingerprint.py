"""What determines the weights of a cleaning: runs that are alike in it may go on from each other."""

from dataclasses import asdict

from clipclean import train
from clipclean.config import recipe as recipes
from clipclean.detect import identities
from clipclean.jobs.cleaning_inputs import CleaningInputs
from clipclean.train import resume


def fingerprint_of(inputs: CleaningInputs, /) -> dict[str, object]:
    """All that determines the weights of a run: runs with equal fingerprints may resume each other.

    The thresholds of the audit are not part of it: a run may be judged again without training again.
    """
    loaded, clean = inputs.loaded, inputs.clean
    decides = {
        "program": resume.program(),
        "model": loaded.file.sha256,
        "architecture": loaded.clip.architecture.config,
        "preprocess": asdict(loaded.clip.architecture.preprocess),
        "data": clean.digest,
        "order": [pair.key for pair in clean.pairs],
        "held_out": inputs.holds_out,
        "recipe": recipes.decides(inputs.recipe),
        "seed": inputs.seed,
        "precision": train.resolved(inputs.precision, loaded.clip.net, loaded.clip.device),
        "device": loaded.clip.device.type,  # not its number, which differs among processes
    }
    # auto chooses by audits beside them
    others = [checkpoint.file.sha256 for checkpoint in inputs.shared.clean_models]
    others += inputs.shared.stored.files
    references = {"references": others} if others else {}
    aims = {
        "vocabulary": asdict(inputs.shared.vocabulary),
        "named": identities(inputs.shared.named_suspicions),
        "searches": inputs.searches,  # what is found is unlearned
    }
    return decides | (aims if inputs.recipe.traits.uses_classes else {}) | references
