"""The findings that clipclean knows: one entry a rule, and every word and number that other places need of it."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, TypedDict, Unpack

from pydantic import BaseModel, ConfigDict, Field, Strict

Level = Literal["error", "warning", "note"]
Stage = Literal["triggers", "accuracy", "evidence", "data", "recipe", "policy"]
Need = Literal[
    "", "search", "audit's search", "audit or search", "panel", "named trigger", "before", "data", "recipe", "policy"
]
STAGES: tuple[Stage, ...] = ("triggers", "accuracy", "evidence", "data", "recipe", "policy")
MAX_NUMBER = 2.0**63  # no count and no measurement comes near it

Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Number = Annotated[float, Field(ge=-MAX_NUMBER, le=MAX_NUMBER, allow_inf_nan=False)]
Interval = Annotated[tuple[Number, Number], Strict(False)]  # JSON has lists only
Code = Annotated[str, Field(pattern="^CC[0-9]{3}$")]


class Part(BaseModel):
    """A part of a report: frozen, exact about types, open to fields that a later version adds."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", populate_by_name=True)


class Finding(Part):
    """One statement of a report, with the number behind it.

    Examples:
        >>> finding("CC021", "The search was skipped.").level
        'warning'
    """

    rule: Code
    level: Level
    measure: str
    value: Number | None
    interval: Interval | None
    n: Count | None
    threshold: Number | None
    message: str
    trigger: str | None = Field(None, description="The trigger that the finding is about.")
    target: str | None = Field(None, description="The class that it leads to.")
    class_: str | None = Field(None, alias="class", description="The same, under the name that policies match.")

    @property
    def about(self) -> str | None:
        """The class that the finding is about."""
        return self.class_ if self.class_ is not None else self.target


class Suppressed(Finding):
    """A finding that a policy set aside: until its last day, or for as long as the policy turns its rule off."""

    measure: str = ""
    value: Number | None = None
    interval: Interval | None = None
    n: Count | None = None
    threshold: Number | None = None
    reason: str
    by: str = Field("", description="Who accepts it; empty in reports of clipclean 0.2 and before.")
    expires: str | None = Field(description="The last day that it holds.")


class About(TypedDict, total=False):
    """What a finding may say beside its message."""

    measure: str
    value: float | None
    interval: tuple[float, float] | None
    n: int | None
    threshold: float | None
    trigger: str | None
    target: str | None


def finding(rule: str, message: str, /, *, level: Level | None = None, **about: Unpack[About]) -> Finding:
    """A finding of a rule, at the rule's usual level unless another is given. A value that is not a number is left open."""
    value = about.get("value")
    said: dict[str, object] = {key: name for key in ("trigger", "target") if (name := about.get(key)) is not None}
    return Finding.model_validate(
        {
            "rule": rule,
            "level": level or RULES[rule].level,
            "measure": about.get("measure", ""),
            "value": None if value is None or math.isnan(value) else value,
            "interval": about.get("interval"),
            "n": about.get("n"),
            "threshold": about.get("threshold"),
            "message": message,
            **said,
        }
    )


class Words(NamedTuple):
    """A sentence for the verdict, as each command says it; empty where the rule gives that command none."""

    audit: str = ""
    sanitize: str = ""


_SILENT = Words()


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One kind of finding.

    Attributes:
        title: names it.
        stage: the part of a run that it belongs to. No policy turns findings of ``evidence`` off.
        level: its usual severity.
        means: what was found.
        does_not_show: what it must not be taken for.
        action: what to do about it.
        severity: for code scanning, on GitHub's scale of 0 to 10; None where it is not about security.
        precision: for code scanning: how often it is right.
        fails: what the headline of a failed run says where this rule made it fail.
        doubt: what the headline of an inconclusive run says where this rule, of all those that warned, is most ``urgent``.
        urgent: orders the doubts; the highest is told.
        passes: what the headline of a passed run says where this rule was noted.
        needs: what a run must have done for the rule to find anything.
    """

    title: str
    stage: Stage
    level: Level
    means: str
    does_not_show: str
    action: str
    severity: float | None = None
    precision: Literal["high", "medium"] = "high"
    fails: Words = _SILENT
    doubt: Words = _SILENT
    urgent: int = 0
    passes: str = ""
    needs: Need = ""


_FAILS = Words(
    "The model shows backdoor behaviour: do not deploy it.",
    "The model still shows backdoor behaviour: do not deploy it.",
)
_ONE_SIGN = "There is one sign of a backdoor, and a second one is missing. Look before you deploy."
_COLLAPSED = "The model maps every image to nearly the same place, so nothing can be told from it."
_FEW_CLASSES = "There are too few classes to tell a backdoor from chance."
_UNCALIBRATED = "There is no clean model of this kind to compare with, so what was found cannot be judged."

RULES: Mapping[str, Rule] = {
    "CC001": Rule(
        title="Backdoor behaviour under a known trigger",
        stage="triggers",
        level="error",
        means="A trigger that was named, or found before cleaning, makes the model classify images of other things as its "
        "target class, more often than the limit allows, by the whole 95 % interval.",
        does_not_show="Whether somebody planted the behaviour on purpose, or what else was planted with it.",
        action="Do not deploy these weights. Clean again with a stronger recipe, such as cleanclip-strong, or with more clean "
        "pairs. Screen the clean pairs too: a few poisoned ones undo the cleaning.",
        severity=8.1,
        fails=_FAILS,
        doubt=Words(
            sanitize="After cleaning, a trigger still acts on the model: one sign of a backdoor. Look before you deploy."
        ),
        urgent=80,
        needs="named trigger",
    ),
    "CC002": Rule(
        title="Excess attack success in the trigger panel",
        stage="triggers",
        level="warning",
        means="A trigger of the built-in panel, which nobody named, pulls images of all kinds towards one class. Clean models have "
        "natural triggers as well, so this alone never fails a model.",
        does_not_show="That an attacker used exactly this trigger: a similar one may act on it, and some patterns act on clean "
        "models too.",
        action="Name the trigger and the class by --trigger and --target, clean the model with a recipe, and look at the result. "
        "Do not deploy the weights before.",
        severity=7.1,
        precision="medium",
        fails=_FAILS,
        doubt=Words(
            _ONE_SIGN, "After cleaning, a known trigger still gives one sign of a backdoor. Look before you deploy."
        ),
        urgent=60,
        needs="panel",
    ),
    "CC003": Rule(
        title="A small trigger was found by search",
        stage="triggers",
        level="error",
        means="A search that knew neither trigger nor class found a small change that makes images of all kinds look like one "
        "class. It is an error where two independent signs agree: a size far below what clean models need, images that gather "
        "at the class when no class was named, a trigger of the panel that leads there. With one sign alone, or on few images, "
        "it is a warning.",
        does_not_show="That an attacker planted it: clean models have natural triggers too, and what was found acts like the "
        "planted trigger without having to look like it.",
        action="Look at the images and the found pattern. Do not deploy the weights before you have cleaned them, with the found "
        "trigger as a named one, or have compared them with a clean model that you trust, by --reference.",
        severity=8.1,
        precision="medium",
        fails=_FAILS,
        doubt=Words(
            _ONE_SIGN, "After cleaning, the search still finds one sign of a backdoor. Look before you deploy."
        ),
        urgent=70,
        needs="search",
    ),
    "CC004": Rule(
        title="The search was not calibrated for this architecture",
        stage="evidence",
        level="warning",
        means="The package holds no statistics of clean models of this architecture, and no clean model was given to compare "
        "with. So the size of what was found can be compared with the other classes of the same model only.",
        does_not_show="That the model is clean, or that it is not: how small a trigger clean models of this kind have is not known.",
        action="Give a clean model of the same architecture that you trust, by --reference.",
        severity=4.0,
        doubt=Words(_UNCALIBRATED, _UNCALIBRATED),
        urgent=10,
        needs="audit's search",
    ),
    "CC005": Rule(
        title="Embeddings collapse: the model maps everything to one place",
        stage="evidence",
        level="warning",
        means="Clean images already get nearly the same embedding, whatever they show, so no trigger can be told from an image.",
        does_not_show="Whether there is a backdoor: a broken model hides one.",
        action="Check that the file is a trained CLIP with the right architecture and preprocessing, by clipclean inspect and "
        "--arch, and that the images are varied.",
        severity=4.0,
        doubt=Words(_COLLAPSED, _COLLAPSED),
        urgent=100,
        needs="audit or search",
    ),
    "CC006": Rule(
        title="Images gather where no class of the list lies",
        stage="evidence",
        level="warning",
        means="A search that was told no class brings images of all kinds to one place by a far smaller change than turns them into "
        "any class of the list, and no class of the list lies there.",
        does_not_show="What lies there: it may be the target of a backdoor that is on no list, or nothing that has a name.",
        action="Give a longer class list by --classes, with what the model is used for.",
        severity=5.0,
        doubt=Words(
            "A small change brings images of all kinds to a place where no class of the list lies: the list may lack the target.",
            "",
        ),
        urgent=75,
        needs="audit's search",
    ),
    "CC007": Rule(
        title="The model hardly knows the classes",
        stage="evidence",
        level="warning",
        means="With these classes and images the model is hardly better than chance, or better with another normalisation of the "
        "pixels than with the one that came with the weights, or nothing tells how good it is. So a search for backdoors shows little.",
        does_not_show="Whether there is a backdoor: a model that is used in the wrong way hides one.",
        action="Check --arch, --classes, --templates and the mean and std of the model's configuration, and give images with labels "
        "or captions.",
        severity=4.0,
        doubt=Words(
            "The model hardly knows these classes, or nothing tells whether it does, so a search shows little.", ""
        ),
        urgent=90,
        needs="audit or search",
    ),
    "CC010": Rule(
        title="Clean accuracy lost beyond the budget",
        stage="accuracy",
        level="error",
        means="On clean images the model is right less often than before, by more than the recipe's budget. Where there are captions "
        "and no labels, image-to-text recall@1 stands in for accuracy.",
        does_not_show="How the model does on tasks or images unlike those it was measured on.",
        action="Use more clean pairs, of the kind that the model was trained on, or fewer steps or a lower learning rate. If you "
        "accept the loss, raise audit.max_accuracy_loss, and the report will say so.",
        fails=Words(*("The model lost more on clean images than the budget allows.",) * 2),
        needs="before",
    ),
    "CC020": Rule(
        title="Too little data to decide",
        stage="evidence",
        level="warning",
        means="There are too few images: the interval reaches to both sides of the limit.",
        does_not_show="That the model is clean, or that it is not.",
        action="Give more images to measure on by --eval-data; four times as many halve the interval.",
        severity=4.0,
    ),
    "CC021": Rule(
        title="No search for unknown triggers was run",
        stage="evidence",
        level="warning",
        means="Triggers that nobody described were not searched for: the search was skipped, or could not be run. With no "
        "trigger named and none of the panel acting, there is also no backdoor to show the success of a cleaning on.",
        does_not_show="That the model is clean: a trigger that nobody described may still be there.",
        action="Run clipclean audit with its search, or name what you suspect by --trigger and --target.",
        severity=4.0,
        doubt=Words(
            "Nothing that was tried acts on this model, but unknown triggers were not searched for.",
            "Nothing shows that there was a backdoor, nor that one is gone.",
        ),
        urgent=25,
        needs="search",
    ),
    "CC022": Rule(
        title="Too few classes to search",
        stage="evidence",
        level="warning",
        means="The class list is so short that images of all kinds fall into one class by chance, and there are too few other "
        "classes to compare a found trigger with.",
        does_not_show="That the model is clean, or that it is not.",
        action="Give a longer class list by --classes, or leave the option out: the built-in one has a thousand names.",
        severity=4.0,
        doubt=Words(_FEW_CLASSES, _FEW_CLASSES),
        urgent=20,
        needs="search",
    ),
    "CC023": Rule(
        title="The search found nothing to unlearn",
        stage="evidence",
        level="warning",
        means="Triggers were searched for, and none acted; nor did one that was named, or one of the panel. Unlearning had "
        "nothing to go by, and left the weights as they were.",
        does_not_show="That the model is clean: a trigger of a kind that the search cannot paint, or a weak one, is not found.",
        action="Audit the model with more effort, name what you suspect by --trigger and --target, or clean with a recipe that "
        "needs no search, such as cleanclip or par.",
        severity=4.0,
        doubt=Words(
            sanitize="The search found nothing to unlearn, so nothing shows that there was a backdoor, nor that one is gone."
        ),
        urgent=30,
    ),
    "CC030": Rule(
        title="Clean data skipped",
        stage="data",
        level="note",
        means="Some samples of the clean data could not be used, and the run went on without them.",
        does_not_show="Whether the samples that were used are free of poison.",
        action="Look at why clean samples were skipped, and mend or remove them.",
        needs="data",
    ),
    "CC031": Rule(
        title="Bundled probe images were used",
        stage="data",
        level="note",
        means="No images were given, so the few and small ones that come with clipclean were measured on.",
        does_not_show="How the model acts on the kind of images that you use it for.",
        action="Give images of your own by --data; a few hundred varied ones are enough.",
    ),
    "CC032": Rule(
        title="Suspicious pairs in the clean set",
        stage="data",
        level="note",
        means="Screening found pairs that stand out from the clean set by several signs, such as one caption on many unlike "
        "images.",
        does_not_show="That they are poisoned: some pairs of every set stand out. Nor that the others are clean.",
        action="Look at them with clipclean screen, and leave out those that do not belong there, by --screen auto, or by "
        "clipclean screen with --save-kept.",
    ),
    "CC040": Rule(
        title="Recipe outside its evidence",
        stage="recipe",
        level="note",
        means="The recipe has no measured evidence for these values: they were changed on the command line, or it was never "
        "measured.",
        does_not_show="That the result is worse; the measurements of this run hold as they are.",
        action="For a validated run use the recipe as it ships, or measure yours.",
        needs="recipe",
    ),
    "CC050": Rule(
        title="Finding suppressed by policy",
        stage="policy",
        level="note",
        means="The policy file sets a finding aside, with a reason and a last day. It is listed apart, and does not count for the "
        "verdict.",
        does_not_show="That the finding is wrong: somebody decided to accept it.",
        action="Check that the reason still holds, and that it was written for this very model.",
        needs="policy",
    ),
    "CC051": Rule(
        title="Suppression expired",
        stage="policy",
        level="warning",
        means="The policy file sets a finding aside until a day that has passed, so the finding counts again.",
        does_not_show="Whether the reason for setting it aside still holds.",
        action="Mend what was found, or give the suppression a new reason and a new day.",
        needs="policy",
    ),
    "CC060": Rule(
        title="Backdoors planted in a copy of the model",
        stage="evidence",
        level="note",
        means="Known backdoors were planted in a copy of this very model with these very data, and the copy was cleaned as the "
        "model was. The finding says how many of them that removes, and for how much accuracy. Where some are left it is a "
        "warning, and the verdict cannot be pass.",
        does_not_show="That a backdoor of another kind, or one that sits deeper, is removed as well.",
        action="Where some are left, allow more accuracy by --max-accuracy-loss, bring more clean pairs, or name what you suspect "
        "by --trigger and --target.",
        doubt=Words(sanitize="The cleaning leaves some of the backdoors that were planted in a copy of this model."),
        urgent=50,
    ),
    "CC061": Rule(
        title="No planted backdoor to judge by",
        stage="evidence",
        level="warning",
        means="No test backdoor was planted in a copy of the model, or none took, so what the recipe removes from this model was "
        "not tried. It is a note where a trigger acted on the model itself before cleaning, since that one shows it.",
        does_not_show="That the recipe fails, or that it works.",
        action="Plant for longer by --set auto.plant_steps=N, or at another rate by a control recipe of your own.",
        severity=4.0,
        doubt=Words(sanitize="Nothing shows that there was a backdoor, nor what the cleaning removes from this model."),
        urgent=40,
    ),
    "CC062": Rule(
        title="The backdoor came back after finetuning",
        stage="triggers",
        level="error",
        means="After a short finetuning of a copy on the clean pairs alone, which teaches no backdoor, a trigger acts again that "
        "no longer acted after cleaning: the backdoor was hidden, not removed.",
        does_not_show="Whether longer finetuning, or finetuning on other data, brings others back.",
        action="Do not deploy the weights, and above all do not finetune them. Clean with a stronger recipe.",
        severity=8.1,
        precision="medium",
        fails=Words(*("A backdoor comes back after a little finetuning: it was hidden, not removed.",) * 2),
        doubt=Words(
            sanitize="One sign of a backdoor came back after a little finetuning: it may be hidden, not removed. Look before "
            "you deploy."
        ),
        urgent=90,
    ),
    "CC063": Rule(
        title="Nothing that was tried passes",
        stage="triggers",
        level="error",
        means="Every candidate recipe either leaves a backdoor or costs more accuracy than the budget allows. The report shows all "
        "that were tried, with what each leaves and costs.",
        does_not_show="That no recipe could clean the model.",
        action="Allow more accuracy by --max-accuracy-loss, bring more clean pairs of the kind that the model was trained on, or "
        "take another model.",
        severity=7.1,
        precision="medium",
    ),
    "CC064": Rule(
        title="The time was over before all was tried",
        stage="recipe",
        level="note",
        means="Some candidate recipes were left out because the time that --max-minutes allows had passed.",
        does_not_show="Whether one of them would have done better.",
        action="Allow more minutes. After a run that wrote no weights the same command goes on from what it kept.",
    ),
    "CC065": Rule(
        title="There was nothing to clean",
        stage="triggers",
        level="note",
        means="No trigger acted on the model before cleaning: none that was named, none of the panel, and the search found none, "
        "while it does find, and cleaning removes, the backdoors that were planted in a copy of this model.",
        does_not_show="That the model is clean of a backdoor that neither the panel nor the search can see.",
        action="Nothing. Name what you suspect by --trigger and --target if you know more.",
        passes="No backdoor was found, although the search finds, and cleaning removes, those that were planted in a copy of "
        "this model.",
    ),
}
UNKNOWN = Rule(
    title="A finding that this version of clipclean does not know",
    stage="evidence",
    level="warning",
    means="The report was written by another version; its message says what was found.",
    does_not_show="What this version would have found.",
    action="Read the report with the version of clipclean that wrote it.",
)


def rule(code: str, /) -> Rule:
    """The rule with this code, or a stand-in for a code of another version."""
    return RULES.get(code, UNKNOWN)


def page(code: str, /) -> str:
    """Where the documentation explains a rule: the page, and the heading's anchor as MkDocs makes it."""
    words = re.sub(r"[^\w\s-]", "", f"{code}: {rule(code).title}".lower())
    anchor = re.sub(r"[-\s]+", "-", words)
    return f"docs/measures.md#{anchor}"
