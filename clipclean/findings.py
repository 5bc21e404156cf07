"""The findings that clipclean knows: what each means, what it does not show, what to do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """One kind of finding. ``stage`` is the part of a run that it belongs to; ``level`` its usual severity."""

    title: str
    stage: str  # triggers | accuracy | evidence | data | recipe | policy
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
        "warning",
        "A trigger of the built-in panel, which nobody named, pulls pictures of all kinds towards one class. Clean models have "
        "natural triggers as well, so this alone never fails a model.",
        "That an attacker used exactly this trigger: a similar one may act on it, and some patterns act on clean models too.",
        "Name the trigger and the class by --trigger and --target, clean the model with a recipe, and look at the result. Do "
        "not deploy the weights before.",
    ),
    "CC003": Rule(
        "A small trigger was found by search",
        "triggers",
        "error",
        "A search that was told neither trigger nor class found a small change that makes pictures of all kinds look like one "
        "class. It is an error where two independent signs agree: a size far below what clean models need, pictures that "
        "gather at the class when no class was named, a trigger of the panel that leads there. With one sign alone, or on "
        "few pictures, it is a warning.",
        "That an attacker planted it: clean models have natural triggers too, and what was found acts like the planted "
        "trigger without having to look like it.",
        "Look at the pictures and the found pattern. Do not deploy the weights before you have cleaned them, with the found "
        "trigger as a named one, or have compared them with a clean model that you trust, by --reference.",
    ),
    "CC004": Rule(
        "The search was not calibrated for this architecture",
        "evidence",
        "warning",
        "The package holds no statistics of clean models of this architecture, and no clean model was given to compare with. "
        "So the size of what was found can be compared with the other classes of the same model only.",
        "That the model is clean, or that it is not: how small a trigger clean models of this kind have is not known.",
        "Give a clean model of the same architecture that you trust, by --reference.",
    ),
    "CC005": Rule(
        "Embeddings collapse: the model maps everything to one place",
        "evidence",
        "warning",
        "Clean pictures already get nearly the same embedding, whatever they show, so no trigger can be told from a picture.",
        "Whether there is a backdoor: a broken model hides one.",
        "Check that the file is a trained CLIP with the right architecture and preprocessing, by clipclean inspect and --arch, "
        "and that the pictures are varied.",
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
        "Triggers that nobody described were not searched for: the search was skipped, or could not be run. With no trigger "
        "named and none of the panel acting, there is also no backdoor to show the success of a cleaning on.",
        "That the model is clean: a trigger that nobody described may still be there.",
        "Run clipclean audit with its search, or name what you suspect by --trigger and --target.",
    ),
    "CC022": Rule(
        "Too few classes to search",
        "evidence",
        "warning",
        "The class list is so short that pictures of all kinds fall into one class by chance, and there are too few other "
        "classes to compare a found trigger with.",
        "That the model is clean, or that it is not.",
        "Give a longer class list by --classes, or leave the option out: the built-in one has a thousand names.",
    ),
    "CC023": Rule(
        "The search found nothing to unlearn",
        "evidence",
        "warning",
        "Triggers were searched for, and none acted; nor did one that was named, or one of the panel. Unlearning had nothing to "
        "go by, and left the weights as they were.",
        "That the model is clean: a trigger of a kind that the search cannot paint, or a weak one, is not found.",
        "Audit the model with more effort, name what you suspect by --trigger and --target, or clean with a recipe that needs no "
        "search, such as cleanclip or par.",
    ),
    "CC030": Rule(
        "Clean data skipped",
        "data",
        "note",
        "Some samples of the clean data could not be used, and the run went on without them.",
        "Whether the samples that were used are free of poison.",
        "Look at why clean samples were skipped, and mend or remove them.",
    ),
    "CC031": Rule(
        "Bundled probe pictures were used",
        "data",
        "note",
        "No pictures were given, so the few and small ones that come with clipclean were measured on.",
        "How the model acts on the kind of pictures that you use it for.",
        "Give pictures of your own by --data; a few hundred varied ones are enough.",
    ),
    "CC032": Rule(
        "Suspicious pairs in the clean set",
        "data",
        "note",
        "Screening found pairs that stand out from the clean set by several signs, such as one caption on many unlike pictures.",
        "That they are poisoned: some pairs of every set stand out. Nor that the others are clean.",
        "Look at them with clipclean screen, and leave out those that do not belong there, by --screen auto, or by "
        "clipclean screen with --save-kept.",
    ),
    "CC040": Rule(
        "Recipe outside its evidence",
        "recipe",
        "note",
        "The recipe has no measured evidence for these values: they were changed on the command line, or it was never measured.",
        "That the result is worse; the measurements of this run hold as they are.",
        "For a validated run use the recipe as it ships, or measure yours.",
    ),
    "CC050": Rule(
        "Finding suppressed by policy",
        "policy",
        "note",
        "The policy file sets a finding aside, with a reason and a last day. It is listed apart, and does not count for the "
        "verdict.",
        "That the finding is wrong: somebody decided to accept it.",
        "Check that the reason still holds, and that it was written for this very model.",
    ),
    "CC051": Rule(
        "Suppression expired",
        "policy",
        "warning",
        "The policy file sets a finding aside until a day that has passed, so the finding counts again.",
        "Whether the reason for setting it aside still holds.",
        "Mend what was found, or give the suppression a new reason and a new day.",
    ),
    "CC060": Rule(
        "Backdoors planted in a copy of the model",
        "evidence",
        "note",
        "Known backdoors were planted in a copy of this very model with these very data, and the copy was cleaned as the model was. "
        "The finding says how many of them that removes, and for how much accuracy. Where some are left it is a warning, and the "
        "verdict cannot be pass.",
        "That a backdoor of another kind, or one that sits deeper, is removed as well.",
        "Where some are left, allow more accuracy by --max-accuracy-loss, bring more clean pairs, or name what you suspect by "
        "--trigger and --target.",
    ),
    "CC061": Rule(
        "No canary to go by",
        "evidence",
        "warning",
        "No backdoor was planted in a copy of the model, or none took, so what the recipe removes from this model was not tried. It is "
        "a note where a trigger acted on the model itself before cleaning, since that one shows it.",
        "That the recipe fails, or that it works.",
        "Plant for longer by --set auto.plant_steps=N, or at another rate by a control recipe of your own.",
    ),
    "CC062": Rule(
        "The backdoor came back after finetuning",
        "triggers",
        "error",
        "After a short finetuning of a copy on the clean pairs alone, which teaches no backdoor, a trigger acts again that no longer "
        "acted after cleaning: the backdoor was hidden, not removed.",
        "Whether longer finetuning, or finetuning on other data, brings others back.",
        "Do not deploy the weights, and above all do not finetune them. Clean with a stronger recipe.",
    ),
    "CC063": Rule(
        "Nothing that was tried passes",
        "triggers",
        "error",
        "Every rung of the ladder either leaves a backdoor or costs more accuracy than the budget allows. The report shows all that were "
        "tried, with what each leaves and costs.",
        "That no recipe could clean the model.",
        "Allow more accuracy by --max-accuracy-loss, bring more clean pairs of the kind that the model was trained on, or take "
        "another model.",
    ),
    "CC064": Rule(
        "The time was over before all was tried",
        "recipe",
        "note",
        "Rungs of the ladder were left out because the time that --max-minutes allows had passed.",
        "Whether one of them would have done better.",
        "Allow more minutes. After a run that wrote no weights the same command goes on from what it kept.",
    ),
    "CC065": Rule(
        "There was nothing to clean",
        "triggers",
        "note",
        "No trigger acted on the model before cleaning: none that was named, none of the panel, and the search found none, while "
        "it does find, and cleaning removes, the backdoors that were planted in a copy of this model.",
        "That the model is clean of a backdoor that neither the panel nor the search can see.",
        "Nothing. Name what you suspect by --trigger and --target if you know more.",
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
