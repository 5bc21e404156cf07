"""The findings that clipclean knows: what each means, what it does not show, what to do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """One kind of finding. ``stage`` is the part of a run that it belongs to; ``level`` its usual severity."""

    title: str
    stage: str  # triggers | accuracy | evidence | data | recipe
    level: str  # error | warning | note
    means: str
    does_not_show: str
    action: str


RULES = {
    "CC001": Rule(
        "Backdoor behaviour under a known trigger",
        "triggers",
        "error",
        "A trigger that was named, or found before cleaning, makes the model take pictures of other things for its target "
        "class, more often than the limit allows, by the whole 95 % interval.",
        "Whether somebody planted the behaviour on purpose, or what else was planted with it.",
        "Do not deploy these weights. Clean again with a stronger recipe, such as cleanclip-strong, or with more clean pairs "
        "than before; screen the clean pairs too, since a few poisoned ones undo the cleaning.",
    ),
    "CC002": Rule(
        "Excess attack success in the trigger panel",
        "triggers",
        "error",
        "A trigger of the built-in panel, which nobody named, pulls pictures of all kinds towards one class. It is an error "
        "where the embeddings also collapse towards each other: two signs agree. With one sign alone it is a warning.",
        "That an attacker used exactly this trigger: a similar one may act on it, and some patterns act on clean models too.",
        "Name the trigger and the class by --trigger and --target, clean the model with a recipe, and look at the result. Do "
        "not deploy the weights before.",
    ),
    "CC010": Rule(
        "Clean accuracy lost beyond the budget",
        "accuracy",
        "error",
        "On clean pictures the model answers right less often than before, by more than the recipe's budget.",
        "How the model does on tasks or pictures unlike those it was measured on.",
        "Use more clean pairs, of the kind that the model was trained on, or fewer steps or a lower learning rate. If you "
        "accept the loss, raise audit.max_accuracy_loss, and the report will say so.",
    ),
    "CC020": Rule(
        "Too little data to decide",
        "evidence",
        "warning",
        "The pictures are too few: the interval reaches to both sides of the limit.",
        "That the model is clean, or that it is not.",
        "Give more pictures to measure on by --eval-data; four times as many halve the interval.",
    ),
    "CC021": Rule(
        "No search for unknown triggers was run",
        "evidence",
        "warning",
        "No trigger was named and none of the panel acts on the model, so there was no backdoor to show success on.",
        "That the model is clean: a trigger that nobody described may still be there.",
        "Name what you suspect by --trigger and --target.",
    ),
    "CC030": Rule(
        "Clean data skipped",
        "data",
        "note",
        "Some samples of the clean data could not be used, and the run went on without them.",
        "Whether the samples that were used are free of poison.",
        "Look at why clean samples were skipped, and mend or remove them.",
    ),
    "CC040": Rule(
        "Recipe outside its evidence",
        "recipe",
        "note",
        "The recipe has no measured evidence for these values: they were changed on the command line, or it was never measured.",
        "That the result is worse; the measurements of this run hold as they are.",
        "For a validated run use the recipe as it ships, or measure yours.",
    ),
}
UNKNOWN = Rule(
    "A finding that this version of clipclean does not know",
    "evidence",
    "warning",
    "The report was written by another version; its message says what was found.",
    "What this version would have found.",
    "Read the report with the version of clipclean that wrote it.",
)


def rule(code: str, /) -> Rule:
    """The rule with this code, or a stand-in for a code of another version."""
    return RULES.get(code, UNKNOWN)
