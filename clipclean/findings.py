"""The finding rules (``RULES``), which every other place reads, and ``Finding``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict, Unpack, get_args

from pydantic import Field

from clipclean.schema.part import Count, Interval, Number, Part, finite

Level = Literal["error", "warning", "note"]
LEVEL_RANKS: Mapping[Level, int] = {"note": 0, "warning": 1, "error": 2}  # the higher, the graver
Stage = Literal["triggers", "accuracy", "evidence", "data", "recipe", "policy"]
Need = Literal[
    "",
    "search",
    "audit's search",
    "audit or search",
    "panel",
    "named trigger",
    "before",
    "data",
    "recipe",
    "policy",
    "policy's base",
    "base",
    "power",
    "cleaning",
    "auto",
    "refinetuned",
]
STAGES: tuple[Stage, ...] = get_args(Stage)
Code = Annotated[str, Field(pattern="^CC[0-9]{3}$")]


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
    def is_error(self) -> bool:
        """Whether it fails the model."""
        return self.level == "error"

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


def trigger_words(name: str, /) -> str:
    """A trigger as sentences name it: its spec, or what a search found, which has none.

    Examples:
        >>> trigger_words("found:patch,class=strawberry")
        'the found patch'
    """
    kind, colon, detail = name.partition(":")
    return f"the found {detail.partition(',')[0]}" if kind == "found" and colon else name


class About(TypedDict, total=False):
    """Optional fields of a finding."""

    measure: str
    value: float | None
    interval: tuple[float, float] | None
    n: int | None
    threshold: float | None
    trigger: str | None
    target: str | None


def finding(rule: str, message: str, /, *, level: Level | None = None, **about: Unpack[About]) -> Finding:
    """A finding of a rule, at the rule's usual level unless another is given. A value that is not a number is left open."""
    figures: dict[str, object] = {"measure": "", "interval": None, "n": None, "threshold": None}
    figures |= {key: value for key, value in about.items() if value is not None}
    fields = {"rule": rule, "level": level or RULES[rule].level, "message": message}
    return Finding.model_validate(fields | figures | {"value": finite(about.get("value"))})


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
        fails_audit: what the headline of a failed audit says where this rule made it fail; ``fails_sanitize`` that of a cleaning.
        doubt_audit: what the headline of an inconclusive audit says where this rule, of all those that warned, is most ``urgent``;
            ``doubt_sanitize`` that of a cleaning.
        urgent: orders the doubts; the highest is told.
        passes: what the headline of a passed run says where this rule was noted.
        needs: what a run must have done for the rule to find anything.
        tells: whether an audit points at a backdoor by it, surely or not, or says that it did not look, or looked in vain.
    """

    title: str
    stage: Stage
    level: Level
    means: str
    does_not_show: str
    action: str
    severity: float | None = None
    precision: Literal["high", "medium"] = "high"
    fails_audit: str = ""
    fails_sanitize: str = ""
    doubt_audit: str = ""
    doubt_sanitize: str = ""
    urgent: int = 0
    passes: str = ""
    needs: Need = ""
    tells: Literal["", "sign", "unsearched"] = ""


_FAILS = "The model shows backdoor behaviour: do not deploy it."
_STILL_FAILS = "The model still shows backdoor behaviour: do not deploy it."
_ONE_SIGN = "Something speaks for a backdoor, and nothing proves it. Look before you deploy."
_COLLAPSED = "The model maps every image to nearly the same embedding, so nothing can be concluded from it."
_FEW_CLASSES = "There are too few classes to tell a backdoor from chance."
_UNCALIBRATED = "There is no clean model of this kind to compare with, so the results cannot be judged."


class CC:
    """The codes of the rules, by what they stand for: reports have the code, the source the name."""

    KNOWN_TRIGGER_ACTS = "CC001"
    PANEL_EXCESS = "CC002"
    TRIGGER_FOUND = "CC003"
    NOT_CALIBRATED = "CC004"
    EMBEDDINGS_COLLAPSE = "CC005"
    TARGET_OFF_THE_LIST = "CC006"
    CLASSES_HARDLY_KNOWN = "CC007"
    AUDIT_POWER = "CC008"
    NOT_ON_THE_BASE = "CC009"
    ACCURACY_LOST = "CC010"
    TOO_LITTLE_DATA = "CC020"
    NOT_SEARCHED = "CC021"
    TOO_FEW_CLASSES = "CC022"
    NOTHING_TO_UNLEARN = "CC023"
    TIME_OVER = "CC024"
    CODE_NOT_JUDGED = "CC025"
    OTHER_WEIGHTS_NOT_JUDGED = "CC026"
    OTHERWISE_IN_HALF_PRECISION = "CC027"
    NOT_THE_POLICYS_BASE = "CC028"
    DATA_SKIPPED = "CC030"
    BUNDLED_IMAGES_USED = "CC031"
    SUSPICIOUS_PAIRS = "CC032"
    NO_CLASS_LIST = "CC033"
    CLASSES_ALIKE = "CC034"
    BASE_IS_NONE = "CC035"
    OUTSIDE_EVIDENCE = "CC040"
    SUPPRESSED = "CC050"
    SUPPRESSION_EXPIRED = "CC051"
    LIMITS_LOOSENED = "CC052"
    BACKDOORS_PLANTED = "CC060"
    NO_PLANTED_BACKDOOR = "CC061"
    BACKDOOR_CAME_BACK = "CC062"
    NO_CANDIDATE_PASSES = "CC063"
    CANDIDATES_UNTRIED = "CC064"
    NOTHING_TO_CLEAN = "CC065"


RULES: Mapping[str, Rule] = {
    CC.KNOWN_TRIGGER_ACTS: Rule(
        title="Backdoor behaviour under a known trigger",
        stage="triggers",
        level="error",
        means="A trigger that you named, or that was found before cleaning, makes the model classify images of "
        "other things as its target class. The whole 95 % interval is above the limit.",
        does_not_show="Whether the behaviour was planted on purpose, or whether there are other backdoors.",
        action="Do not deploy these weights. Clean again by --recipe auto, which takes the gentlest recipe that is enough. Screen the "
        "clean pairs: a few poisoned ones undo the cleaning.",
        severity=8.1,
        fails_audit=_FAILS,
        fails_sanitize=_STILL_FAILS,
        doubt_sanitize="After cleaning, a trigger still acts on the model: one sign of a backdoor. Look before you deploy.",
        urgent=80,
        needs="named trigger",
        tells="sign",
    ),
    CC.PANEL_EXCESS: Rule(
        title="Excess attack success in the trigger panel",
        stage="triggers",
        level="warning",
        means="A trigger of the built-in panel, which you did not name, sends images of all kinds to one class. "
        "Clean models have natural triggers as well, so this alone never fails a model.",
        does_not_show="That an attacker used exactly this trigger: a similar trigger may be the planted one, "
        "and some patterns act on clean models too.",
        action="Do not deploy the weights. Clean the model with this trigger and class named, by --trigger and --target.",
        severity=7.1,
        precision="medium",
        fails_audit=_FAILS,
        fails_sanitize=_STILL_FAILS,
        doubt_audit=_ONE_SIGN,
        doubt_sanitize="After cleaning, a known trigger still gives one sign of a backdoor. Look before you deploy.",
        urgent=60,
        needs="panel",
        tells="sign",
    ),
    CC.TRIGGER_FOUND: Rule(
        title="A small trigger was found by search",
        stage="triggers",
        level="error",
        means="A search that knew neither trigger nor class found a change that turns images of all kinds into "
        "one class. Any other class needs a much larger change. It is an error if the class stands out more than "
        "classes of clean models do. With less evidence, on few images, or by the panel and changes of the whole "
        "image alone, it is a warning.",
        does_not_show="That an attacker planted it: clean models have natural triggers too. The found trigger "
        "acts like the planted one and may look different.",
        action="Do not deploy the weights. Look at the found pattern, then clean the model by --recipe auto, which searches for "
        "itself. If you trust a clean model of this kind, compare with it first, by --reference.",
        severity=8.1,
        precision="medium",
        fails_audit=_FAILS,
        fails_sanitize=_STILL_FAILS,
        doubt_audit=_ONE_SIGN,
        doubt_sanitize="After cleaning, the search still finds one sign of a backdoor. Look before you deploy.",
        urgent=70,
        needs="search",
        tells="sign",
    ),
    CC.NOT_CALIBRATED: Rule(
        title="The search was not calibrated for this architecture",
        stage="evidence",
        level="warning",
        means="clipclean has no measurements of clean models of this architecture and these classes, and you "
        "gave no clean model. So it compares a found trigger with the other classes of this model, and with clean models of "
        "other kinds. It does not know how small a trigger clean models of this kind need. Or a model that you gave is a poor one to compare with: "
        "it hardly knows the classes, or has the weights of the tested one.",
        does_not_show="That the model is clean, or that it is not.",
        action="Give a clean model of the same architecture that you trust, by --reference. Without one, clipclean audit --power "
        "can say pass.",
        severity=4.0,
        doubt_audit=_UNCALIBRATED,
        doubt_sanitize=_UNCALIBRATED,
        urgent=10,
        needs="audit's search",
    ),
    CC.EMBEDDINGS_COLLAPSE: Rule(
        title="Embeddings collapse: the model maps everything to one place",
        stage="evidence",
        level="warning",
        means="Clean images of all kinds get nearly the same embedding, so triggered and clean images cannot be distinguished.",
        does_not_show="Whether there is a backdoor: a broken model hides one.",
        action="Check with clipclean inspect and --arch that the file is a trained CLIP with the right "
        "architecture and preprocessing, and that the images are varied.",
        severity=4.0,
        doubt_audit=_COLLAPSED,
        doubt_sanitize=_COLLAPSED,
        urgent=100,
        needs="audit or search",
    ),
    CC.TARGET_OFF_THE_LIST: Rule(
        title="Images gather where no class of the list lies",
        stage="evidence",
        level="warning",
        means="A search without a target brings images of all kinds to one place, where no class of the list "
        "lies. The change is far smaller than any that turns them into a class of the list.",
        does_not_show="What lies there: it may be the target of a backdoor that is not on the list, or nothing "
        "that has a name.",
        action="Give a longer class list by --classes, with the classes that the model is used for.",
        severity=5.0,
        doubt_audit="A small change brings images of all kinds to a place where no class of the list lies. The list may lack the target.",
        urgent=75,
        needs="audit's search",
        tells="sign",
    ),
    CC.CLASSES_HARDLY_KNOWN: Rule(
        title="The model hardly knows the classes",
        stage="evidence",
        level="warning",
        means="A search for backdoors shows little here, for one of three reasons. With these classes and images the "
        "model is hardly better than chance. Or it is better with another normalisation of the pixels than its own "
        "configuration states. Or its accuracy is unknown.",
        does_not_show="Whether there is a backdoor: a model that is used in the wrong way hides one.",
        action="Check --arch, --classes, --templates, and the mean and std in the model's configuration. Give "
        "images with labels or captions.",
        severity=4.0,
        doubt_audit="The model hardly knows these classes, or its accuracy is unknown, so nothing that was tried says much.",
        urgent=90,
        needs="audit or search",
        tells="unsearched",
    ),
    CC.AUDIT_POWER: Rule(
        title="The power of the audit",
        stage="evidence",
        level="note",
        means="clipclean planted a backdoor of a known kind in each of several copies of the model, and ran the same "
        "audit on the copies. The finding says how many it found. It is a note if it found nearly all: then the "
        "model can pass without a clean model to compare with. Otherwise it is a warning.",
        does_not_show="That the audit would find a backdoor of another kind, or one that was built to evade such a search.",
        action="Give clean models of the same architecture by --reference, search harder by --effort, or give more images by --data.",
        severity=4.0,
        doubt_audit="The audit misses backdoors that were planted in copies of this model, so finding none says little.",
        urgent=20,
        passes="No backdoor was found, and the same audit finds those that were planted in copies of this model.",
        needs="power",
    ),
    CC.NOT_ON_THE_BASE: Rule(
        title="A trigger acts on the model and not on its base",
        stage="triggers",
        level="error",
        means="Known triggers make this model far surer of one class than the model that it was finetuned from; or, on this model alone, a known "
        "trigger turns nearly all images into one class, or one that a search found many. What is natural to the data acts on both, so the "
        "finetune brought it in. "
        "It is an error if it is far more than clean finetunes bring; less is a warning.",
        does_not_show="That somebody planted it on purpose, nor that the base itself is free of backdoors: what acts on both is not seen.",
        action="Do not deploy these weights. Undo the finetune as far as it does this, by sanitize with the same --base.",
        severity=8.1,
        fails_audit="The model shows backdoor behaviour that its base does not have: do not deploy it.",
        fails_sanitize="The model still shows backdoor behaviour that its base does not have: do not deploy it.",
        doubt_audit="A trigger acts on the model more than on its base: one sign of a backdoor. Look before you deploy.",
        doubt_sanitize="After cleaning, a trigger still acts on the model more than on its base: one sign of a backdoor. Look before you deploy.",
        urgent=78,
        needs="base",
        tells="sign",
    ),
    CC.ACCURACY_LOST: Rule(
        title="Clean accuracy lost",
        stage="accuracy",
        level="error",
        means="The model classifies fewer clean images correctly than before. A loss over the budget is a warning. It is an error if "
        "its whole interval is over the budget. Without labels the loss is told by the answers that changed; image-to-text recall@1 "
        "counts only beyond chance.",
        does_not_show="How well the model does on tasks or images unlike those that were measured. On images that it was trained on "
        "it also loses what it knew by heart, so the loss on new images may be far smaller.",
        action="Measure on labelled images that the model never saw, by --eval-data. If the loss stays, clean with more pairs like its "
        "training data, or with fewer steps. If you accept the loss, raise --max-accuracy-loss; the report will say so.",
        fails_sanitize="The model lost more on clean images than the budget allows.",
        needs="before",
    ),
    CC.TOO_LITTLE_DATA: Rule(
        title="Too little data to decide",
        stage="evidence",
        level="warning",
        means="There are too few images: the interval reaches to both sides of the limit, or nothing could be "
        "measured. Or nearly all are of one class, so that no trigger can be seen to lead there.",
        does_not_show="That the model is clean, or that it is not.",
        action="Give more images to measure on, by --data of an audit or --eval-data of a cleaning; four times as many halve the interval.",
        severity=4.0,
    ),
    CC.NOT_SEARCHED: Rule(
        title="No search for unknown triggers was run",
        stage="evidence",
        level="warning",
        means="clipclean did not search for unknown triggers. The search was skipped, was not possible, or turned images into no "
        "class, not even by its largest triggers. If you named no trigger and none of the panel acts, no backdoor can show whether "
        "a cleaning succeeded.",
        does_not_show="That the model is clean: an unknown trigger may still be there.",
        action="Run clipclean audit with its search, or name the trigger that you suspect, by --trigger and --target.",
        severity=4.0,
        doubt_audit="No trigger that was tried surely acts beyond its limit, but unknown triggers were not searched for.",
        doubt_sanitize="Nothing shows that there was a backdoor, nor that one is gone.",
        urgent=25,
        needs="search",
        tells="unsearched",
    ),
    CC.TOO_FEW_CLASSES: Rule(
        title="Too few classes to search",
        stage="evidence",
        level="warning",
        means="The class list is so short that images of all kinds fall into one class by chance, and there are "
        "too few other classes to compare a found trigger with.",
        does_not_show="That the model is clean, or that it is not.",
        action="Give a longer class list by --classes, or leave the option out: the built-in one has a thousand names.",
        severity=4.0,
        doubt_audit=_FEW_CLASSES,
        doubt_sanitize=_FEW_CLASSES,
        urgent=20,
        needs="search",
        tells="unsearched",
    ),
    CC.NOTHING_TO_UNLEARN: Rule(
        title="The search found nothing to unlearn",
        stage="evidence",
        level="warning",
        means="No trigger acts: none that the search found, none that you named, none of the panel. So unlearning left the "
        "weights unchanged.",
        does_not_show="That the model is clean: the search misses weak triggers and triggers outside its families.",
        action="Audit the model with more effort, or name the trigger that you suspect by --trigger and --target.",
        severity=4.0,
        doubt_sanitize="The search found nothing to unlearn. So nothing shows that there was a backdoor, nor that one is gone.",
        urgent=30,
        needs="cleaning",
    ),
    CC.TIME_OVER: Rule(
        title="Time was over before all was done",
        stage="evidence",
        level="warning",
        means="The run ended at the deadline of --max-minutes. The report has the results until then.",
        does_not_show="The results of the rest, such as triggers of a kind that was not reached.",
        action="Give the same command with more minutes, and --force if it has written: it resumes where it ended.",
        severity=4.0,
        doubt_audit="Time ran out before the audit ended. Nothing that was tried until then acts.",
        doubt_sanitize="Time ran out before the cleaning ended, so nothing shows that all of a backdoor is gone.",
        urgent=28,
        tells="unsearched",
    ),
    CC.CODE_NOT_JUDGED: Rule(
        title="Code in the file was not judged",
        stage="evidence",
        level="note",
        means="The file is a TorchScript archive, as OpenAI's releases are. It holds code beside the weights. torch.jit.load runs that "
        "code; clipclean neither reads nor runs it. It judges the weights in open_clip's module.",
        does_not_show="That the code is harmless, or that it does with the weights what open_clip does.",
        action="Use the weights alone: clipclean export writes them without the code. Load an archive as code only if you trust who made it.",
        severity=4.0,
        passes="The weights pass. The code in their archive was not judged: do not run it unless you trust its source.",
    ),
    CC.OTHER_WEIGHTS_NOT_JUDGED: Rule(
        title="Other weights in the file were not judged",
        stage="evidence",
        level="warning",
        means="The file holds further sets of weights, such as an average, a teacher or a second network. Only the named "
        "set was judged. It is a note where you chose the set by --weights, and for a cleaning, which writes that set alone.",
        does_not_show="Anything about the others. Nor which set a program takes that loads this file.",
        action="Audit each set that is used, by --weights NAME. Or save one set alone, as clipclean export does.",
        severity=4.0,
        doubt_audit="The file holds other weights beside those that were judged. Programs differ in which they load.",
        urgent=26,
        tells="unsearched",
    ),
    CC.OTHERWISE_IN_HALF_PRECISION: Rule(
        title="The model answers otherwise in half precision",
        stage="evidence",
        level="warning",
        means="In bfloat16 or float16 the answers to some images differ from those in fp32 by far more than rounding does to a sound model. "
        "A backdoor can be made so that it shows in half precision alone, where most models are deployed and no search looks.",
        does_not_show="Whether it is a backdoor: large constants inside of a model use up the digits of half precision, too.",
        action="Deploy the model in fp32 only, if at all. Ask its maker why it needs that.",
        severity=7.1,
        precision="medium",
        doubt_audit="In half precision the model answers otherwise than in fp32, where it was searched. Do not deploy it in half precision.",
        urgent=65,
        needs="audit's search",
        tells="sign",
    ),
    CC.NOT_THE_POLICYS_BASE: Rule(
        title="Not the base that the policy names",
        stage="evidence",
        level="warning",
        means="The policy names the base that a model has to be finetuned from, by its SHA-256. No base was named for this run, or "
        "another one, or the model was not finetuned from it.",
        does_not_show="Anything about a backdoor. What acts on this model alone was sought beside another model, or beside none.",
        action="Give the base that the policy names, by --base. If another one is right, have the owner of the policy change base_sha256.",
        severity=4.0,
        doubt_audit="Nothing shows that the model is a finetune of the base that the policy names.",
        doubt_sanitize="Nothing shows that the model is a finetune of the base that the policy names.",
        urgent=27,
        needs="policy's base",
    ),
    CC.DATA_SKIPPED: Rule(
        title="Clean data skipped",
        stage="data",
        level="note",
        means="Some samples of the clean data could not be used, and the run continued without them.",
        does_not_show="Whether the samples that were used are free of poison.",
        action="Find out why samples were skipped, and repair or remove them.",
        needs="data",
    ),
    CC.BUNDLED_IMAGES_USED: Rule(
        title="Bundled probe images were used",
        stage="data",
        level="note",
        means="You gave no images, so clipclean measured on its bundled ones, which are few and small.",
        does_not_show="How the model acts on the images that you use it for.",
        action="Give your own images by --data; a few hundred varied ones are enough.",
    ),
    CC.SUSPICIOUS_PAIRS: Rule(
        title="Suspicious pairs in the clean set",
        stage="data",
        level="note",
        means="Screening found pairs that stand out from the clean set by several signals, such as one caption "
        "on many different images.",
        does_not_show="That they are poisoned: some pairs of every set stand out. Nor that the others are clean.",
        action="Look at the suspicious pairs with clipclean screen. Drop those that do not belong there, by its --save-kept, or in "
        "the run by --screen.",
        needs="cleaning",
    ),
    CC.NO_CLASS_LIST: Rule(
        title="No class list was given",
        stage="data",
        level="note",
        means="You gave no class names, so clipclean took the 1,000 of ImageNet. Accuracy, suspects and verdict are about "
        "these classes; report.json lists them with the templates, as it lists your own.",
        does_not_show="Whether there is a backdoor towards a class that is not on the list. Such a target appears under the name of a "
        "near class, or not at all.",
        action="Give the classes that the model is used for by --classes FILE, one name per line.",
    ),
    CC.CLASSES_ALIKE: Rule(
        title="Classes that the model cannot tell apart",
        stage="evidence",
        level="note",
        means="Some names of the class list have nearly the same text embedding. Each would hide how easily images are led to the other. "
        "So they count as one class, and a finding about the first of them is about all.",
        does_not_show="Why they are alike. They may be synonyms, or words that the model never learned. Or somebody changed a name or the "
        "model to hide a backdoor.",
        action="Leave one of each in the list, if they mean the same. If they do not, the model does not know these words.",
        severity=4.0,
        needs="audit's search",
    ),
    CC.BASE_IS_NONE: Rule(
        title="The base is none",
        stage="data",
        level="warning",
        means="The model that you named by --base is not the one that this model was finetuned from: their weights, or what they make of "
        "clean images, are too far from each other. It was compared with as a reference, as if you had named it by --reference.",
        does_not_show="Anything about a backdoor.",
        action="Name the model that this one was finetuned from by --base, or name this one by --reference.",
        needs="base",
    ),
    CC.OUTSIDE_EVIDENCE: Rule(
        title="Recipe outside its evidence",
        stage="recipe",
        level="note",
        means="The recipe has no measured evidence for these values: you changed them on the command line, or "
        "nobody measured them.",
        does_not_show="That the result is worse. The measurements of this run hold.",
        action="See where recipes were measured with clipclean recipes list, or measure yours with clipclean recipes bench.",
        needs="recipe",
    ),
    CC.SUPPRESSED: Rule(
        title="Finding suppressed by policy",
        stage="policy",
        level="note",
        means="The policy file suppresses a finding, with a reason and a last day. The report lists it apart, "
        "and it does not count for the verdict.",
        does_not_show="That the finding is wrong. It was accepted, not refuted.",
        action="Check that the reason still holds, and that it is about this model.",
        needs="policy",
    ),
    CC.SUPPRESSION_EXPIRED: Rule(
        title="Suppression expired",
        stage="policy",
        level="warning",
        means="The policy file suppresses a finding until a day that has passed, so the finding counts again.",
        does_not_show="Whether the reason for the suppression still holds.",
        action="Fix the finding, or renew the suppression with a reason and a new date.",
        needs="policy",
    ),
    CC.LIMITS_LOOSENED: Rule(
        title="Limits loosened by policy",
        stage="policy",
        level="note",
        means="The policy file sets a looser limit than the one that ships. A measurement that would be a finding may then be none. "
        "The report has the verdict by the shipped limits as well.",
        does_not_show="That the limit is wrong for this model. Somebody chose it.",
        action="Check that the limit is meant, and compare the verdict with the one without the policy.",
        needs="policy",
    ),
    CC.BACKDOORS_PLANTED: Rule(
        title="Backdoors planted in a copy of the model",
        stage="evidence",
        level="note",
        means="clipclean planted test backdoors in a copy of this model, with these data, and cleaned the copy "
        "like the model. The finding says how many of them the cleaning removes, and at what cost in accuracy. "
        "If some are left, it is a warning and the verdict cannot be pass.",
        does_not_show="That it removes a backdoor of another kind, or one that sits deeper.",
        action="If some are left, bring more clean pairs, or allow more accuracy loss by --max-accuracy-loss.",
        doubt_sanitize="The cleaning leaves some of the test backdoors that were planted in a copy of this model.",
        urgent=50,
        needs="auto",
    ),
    CC.NO_PLANTED_BACKDOOR: Rule(
        title="No planted backdoor to judge by",
        stage="evidence",
        level="warning",
        means="No test backdoor was planted in a copy of the model, so it is unknown what the recipe removes from this model. "
        "If a trigger acted on the model itself before cleaning, the cleaning is judged by that one, and this is a note.",
        does_not_show="That the recipe fails, or that it works.",
        action="Where planting failed, plant for longer, by --set auto.plant_steps=N, or farther, by --set "
        "auto.plant_walk=N. Where nothing was planted, nothing.",
        severity=4.0,
        doubt_sanitize="Nothing shows that there was a backdoor, nor what the cleaning removes from this model.",
        urgent=40,
        needs="auto",
    ),
    CC.BACKDOOR_CAME_BACK: Rule(
        title="The backdoor came back after finetuning",
        stage="triggers",
        level="error",
        means="A copy was finetuned briefly on the clean pairs alone, which teaches no backdoor. A trigger that "
        "no longer acted after cleaning acts again: the backdoor was hidden, not removed.",
        does_not_show="Whether longer finetuning, or finetuning on other data, brings more back. A trigger of the panel makes it a "
        "warning, since that may be a natural trigger.",
        action="Do not deploy or finetune the weights. Clean with a stronger recipe.",
        severity=8.1,
        precision="medium",
        fails_sanitize="A backdoor comes back after a little finetuning: it was hidden, not removed.",
        doubt_sanitize="One sign of a backdoor came back after a little finetuning. It may be hidden, not removed: look before "
        "you deploy.",
        urgent=90,
        needs="refinetuned",
    ),
    CC.NO_CANDIDATE_PASSES: Rule(
        title="No candidate passes",
        stage="triggers",
        level="error",
        means="Every candidate either leaves a backdoor or costs more accuracy than the budget allows. If the audit suspected "
        "nothing, a cost that is most likely over the budget is too much already. If it found nothing sure, this is a warning: the "
        "weights stay as they were, and none are written. The report shows what each candidate leaves and costs.",
        does_not_show="That no recipe could clean the model.",
        action="Bring more clean pairs like the training data of the model, or allow more accuracy loss by --max-accuracy-loss. Else "
        "use another model.",
        severity=7.1,
        precision="medium",
        doubt_sanitize="No recipe cleans this model within the accuracy budget. The audit is not sure of a backdoor in it, so no "
        "weights were written.",
        passes="The audit found no backdoor. The weights are as they were, since every cleaning costs more accuracy than the budget "
        "allows.",
        urgent=95,
        needs="auto",
    ),
    CC.CANDIDATES_UNTRIED: Rule(
        title="Time limit reached before all candidates were tried",
        stage="recipe",
        level="note",
        means="Some candidate recipes were skipped, because the time in --max-minutes had passed.",
        does_not_show="Whether one of them would have been better.",
        action="Allow more minutes. If the run wrote no weights, the same command resumes it.",
        needs="auto",
    ),
    CC.NOTHING_TO_CLEAN: Rule(
        title="There was nothing to clean",
        stage="triggers",
        level="note",
        means="The audit of the model passes beside a clean one, and its weights stay. Or no trigger acted on it before cleaning: no named "
        "one, none of the panel, and none that the search found. Then nothing on the model itself shows what the cleaning removes. If "
        "test backdoors were planted in a copy of it, CC060 says how many of them it removes.",
        does_not_show="That the model is free of backdoors that neither the panel nor the search can see.",
        action="There is nothing to do. If you suspect a trigger, name it by --trigger and --target.",
        passes="No backdoor was found, neither before the cleaning nor after it.",
        needs="cleaning",
    ),
}
UNKNOWN_RULE = Rule(
    title="A finding that this version of clipclean does not know",
    stage="evidence",
    level="warning",
    means="The report was written by another version; its message says what was found.",
    does_not_show="The findings of this version.",
    action="Read the report with the version of clipclean that wrote it.",
)


def rule(code: str, /) -> Rule:
    """The rule with this code, or a stand-in for a code of another version."""
    return RULES.get(code, UNKNOWN_RULE)


def page(code: str, /) -> str:
    """Where the documentation explains a rule: the page, and the heading's anchor as MkDocs makes it."""
    words = re.sub(r"[^\w\s-]", "", f"{code}: {rule(code).title}".lower())
    anchor = re.sub(r"[-\s]+", "-", words)
    return f"docs/measures.md#{anchor}"
