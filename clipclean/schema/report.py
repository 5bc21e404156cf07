"""The report as frozen values, which give its types, its validation and its JSON Schema."""

import functools
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

from pydantic import AliasChoices, ConfigDict, Discriminator, Field, Strict, Tag, ValidationError, model_validator

from clipclean.errors import RefusedInput
from clipclean.findings import Finding, Suppressed
from clipclean.schema.names import EffortName
from clipclean.schema.part import MAX_NUMBER, Count, Interval, Number, Part

MAX_PROBLEMS = 20  # named at once
SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"

Verdict = Literal["pass", "fail", "inconclusive"]
Command = Literal["audit", "sanitize"]
ReferenceKind = Literal["stored", "reference", "file"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Excess = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]  # a difference of two shares
Shares = Annotated[tuple[Share, Share], Strict(False)]
Positive = Annotated[float, Field(ge=0, le=2.0**63, allow_inf_nan=False)]
Item = TypeVar("Item")
Many = Annotated[tuple[Item, ...], Strict(False)]  # JSON has lists only
SKIPPED_VARIANTS = ("a number", "a list")  # of a field that is either; no key of a report
Free = dict[str, Any]  # any JSON: values that no reader of a report computes with


class Column(NamedTuple):
    """What a table of the page calls a field, and what its cells hold; fields without one are left out."""

    head: str
    kind: Literal["text", "name", "code", "number", "share"] = "text"
    is_first: bool = False


def _optional(description: str) -> Any:  # Any: as pydantic's own Field
    """A field that may be null or missing."""
    return Field(None, description=description)


def _formerly(earlier: str, /, *, now: str, description: str | None = None) -> Any:  # Any: as pydantic's own Field
    """A field that earlier reports call otherwise: it is written as ``now``, and read under both names."""
    return Field(validation_alias=AliasChoices(now, earlier), description=description)


class ToolRecord(Part):
    """The program that wrote the report."""

    name: str
    version: str


class ModelRecord(Part):
    """The checkpoint that was read."""

    name: str = Field(description="File or folder name, without its place.")
    sha256: Sha256
    format: str
    architecture: str
    architecture_how: str | None = _optional("How the architecture was recognised.")
    activation: str | None = None
    activation_how: str | None = None
    tensor_sha256: Sha256 = Field(description="Of the tensors alone, whatever file holds them.")
    revision: str | None = _optional("The commit, where the model was named as one of the Hugging Face hub.")
    path: str | None = _optional("In the repository or folder that the run worked in, where it lies there.")


class RateRecord(Part):
    """Hits out of n with the 95 % interval; the value is null where n is 0."""

    value: Share | None
    interval: Shares
    n: Count
    definition: str | None = None

    @property
    def is_recall(self) -> bool:
        """Whether images were matched with captions, as there were no labels."""
        return "recall@1" in (self.definition or "")


class DifferenceRecord(Part):
    """One rate minus another over the same images, with its 95 % interval."""

    value: Excess | None
    interval: Interval
    n: Count | None = None


LossBy = Literal["labels", "answers", "recall"]


class AccuracyLossRecord(DifferenceRecord):
    """Clean accuracy before a cleaning minus after, and what it was measured by: labels, the answers that changed, or recall."""

    by: LossBy


class SuspectRecord(Part):
    """A class that images of other things seem to be turned into."""

    class_: str = Field(alias="class")
    score: Number | None
    families: Many[str] = Field((), description="The kinds of trigger that lead to the class.")
    trigger: str | None = _optional("The spec of a trigger that leads there.")


class AimedRecord(Part):
    """A trigger, and the class that it leads to."""

    trigger: str
    target: str


class ProbeRecord(AimedRecord):
    """The effect of one trigger on the model."""

    asr: RateRecord
    base_rate: RateRecord
    excess_asr: DifferenceRecord
    accuracy_under_trigger: RateRecord | None
    knn_asr: RateRecord | None = None
    distance: Number | None = Field(description="Mean squared, 0 to 4; 2 - 2cos.")
    spread: Number | None = None
    clean_spread: Number | None = None
    n: Count
    suspected: bool = _formerly(
        "known", now="suspected", description="Named by the user or found before; not one of the panel."
    )


class RangeRecord(Part):
    """The sizes that clean models need in one family."""

    median: Share
    low: Share
    high: Share
    n: Count


class FoundRecord(Part):
    """The smallest trigger that a search found for one class in one family."""

    family: str = Field(description="Of the search; another version may have others: `clipclean explain methods`.")
    family_words: Annotated[str, Column("Family")]
    class_: Annotated[str, Column("Leads to", "name", is_first=True)] = Field(alias="class")
    size: Share | None = Field(description="Share of the image, or strength.")
    size_words: str
    reached: bool = Field(description="Whether the attack came to the success that it aimed at.")
    asr: RateRecord
    base_rate: RateRecord
    excess_asr: DifferenceRecord
    collapse: Share | None = _optional("Squared norm of the mean unit embedding of triggered images.")
    clean_collapse: Share | None = None
    gathering: Share | None = _optional("Most images that a search without a target brought to the class.")
    distance: Annotated[Number | None, Column("Distance", "number")] = _optional("Mean squared, 0 to 4; 2 - 2cos.")
    spread: Annotated[Number | None, Column("Spread", "number")] = None
    knn_asr: Annotated[RateRecord | None, Column("By neighbours", "number")] = None
    reference: RangeRecord | None = _optional("The sizes that clean models need in this family.")
    gap: Number | None = _optional("Logarithm of how much smaller it is than the median of other classes'.")
    margin: Number | None = _optional("The same, to the smallest of the other classes'.")
    evidence: Number | None = _optional("The margin in units, beyond that of clean models that were given.")
    outlyingness: Number | None = _optional(
        "Robust standard deviations by which the size is smaller than that of the other classes searched in this model."
    )
    file: str | None = _optional("Where the trigger was saved.")


class ControlRecord(Part):
    """A search for a class that nothing points at."""

    class_: str = Field(alias="class")
    family: str
    size: Share | None
    reached: bool | None = None


class GatheringRecord(Part):
    """The class that most images went to under a trigger which was searched without a target."""

    class_: str = Field(alias="class")
    family: str
    size: Share | None
    share: Share = Field(description="Of the images that it brought to the class.")
    reached: bool


class StrengthRecord(Part):
    """The least share of a panel trigger's change at which half of the images become one class, convincingly."""

    trigger: str
    class_: str | None = Field(alias="class", description="Null where the trigger does not act.")
    least: Number
    excess: Number | None


class CalibrationRecord(Part):
    """The clean models that sizes are compared with."""

    kind: Literal["none", ReferenceKind]
    name: str
    models: Count = Field(description="Clean models that were searched before.")


class SearchRecord(Part):
    """The results of the search for unknown triggers; empty if none was run."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"required": ["found"], "properties": {"found": {"type": "array"}}},
            "then": {"required": ["effort", "seconds", "forward_passes", "images", "calibration"]},
        }
    )

    effort: EffortName | None = None
    seconds: Positive | None = None
    forward_passes: Count | None = _optional("Images that went through the image tower.")
    images: Count | None = _optional("Different images that were searched on.")
    calibration: CalibrationRecord | None = None
    found: Many[FoundRecord] | None = _optional("Most abnormal first.")
    controls: Many[ControlRecord] = ()
    gatherings: Many[GatheringRecord] = Field((), description="Of the searches without a target.")
    strengths: Many[StrengthRecord] = Field((), description="Of the triggers of the panel.")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        required_keys = ("effort", "seconds", "forward_passes", "images", "calibration")
        if self.found is not None and (
            missing_keys := [key for key in required_keys if key not in self.model_fields_set]
        ):
            raise ValueError(f"{', '.join(missing_keys)} missing")
        return self


class PointRecord(Part):
    """One image, or one class text, on a map of embeddings."""

    x: Number
    y: Number
    kind: Literal["clean", "triggered", "target", "text"]
    label: str | None = _optional("The class that a text names.")


class ProjectionRecord(Part):
    """Embeddings on a plane. Clean images come first, their triggered copies after them in the same order."""

    method: Literal["pca", "tsne"]
    trigger: str
    explained: Shares | None = _optional("Shares of the variance along the two axes.")
    points: Many[PointRecord]


class PlantedRecord(Part):
    """A backdoor that was planted in a copy, and what the audit of the copy made of it."""

    trigger: str
    class_: str = Field(alias="class")
    excess_asr: Excess
    took: bool = Field(description="Whether it was planted; one that was not does not count.")
    level: str | None = Field(description="Of the finding that names its class; null where the audit missed it.")
    seconds: Positive


class PowerRecord(Part):
    """How many planted backdoors the same audit finds in copies of the model."""

    found: RateRecord = Field(description="Named, by an error or a warning: their model would not pass.")
    failed: RateRecord = Field(description="Named by an error.")
    enough: bool = Field(description="Whether finding nothing means something.")
    planted: Many[PlantedRecord]


class ClassKeptRecord(Part):
    """A class, and how many of the images that the original took for it the cleaned model takes for it as well."""

    class_: str = Field(alias="class")
    kept: RateRecord


class AgreementRecord(RateRecord):
    """How alike the cleaned model and the original answer on clean images."""

    margins: Shares | None = _optional(
        "Mean gap in confidence between the first and the second class, before and after."
    )
    worst_class: ClassKeptRecord | None = _optional("The class that kept the smallest share.")


class MeasurementsRecord(Part):
    """The measurements of one model."""

    # A field with a title is a section of the page: a table of its records, by their columns.

    clean_accuracy: RateRecord | None
    recall: RateRecord | None = _optional("Image-to-text recall@1, beside an accuracy by labels.")
    agreement: AgreementRecord | None = _optional(
        "Clean images that the cleaned model takes for the same class as the original."
    )
    accuracy_lost: AccuracyLossRecord | None = _optional("Clean accuracy lost by the cleaning, as a share.")
    probes: Many[ProbeRecord]
    knn: Count | None = _optional("Neighbours of the attack success by neighbours.")
    search: SearchRecord
    distances: Free
    projection: ProjectionRecord | None = None
    tsne: ProjectionRecord | None = _optional("The embeddings of ``projection``, by t-SNE.")
    power: PowerRecord | None = _optional("Of an audit with --power.")


class AuditRecord(Part):
    """One audit: measurements, findings and suspects."""

    measurements: MeasurementsRecord
    findings: Many[Finding]
    suspects: Many[SuspectRecord]


class ExpectedRecord(Part):
    """The evidence of a recipe; ``left`` and ``lost`` have the lowest, mean and highest value."""

    runs: Count
    attacks: Count
    left: Many[Number] = Field(description="Excess attack success after cleaning.")
    lost: Many[Number] = Field(description="Clean accuracy, as a share.")
    pairs: Many[Count]
    parameters: Many[Count] | None


class ReachedRecord(Part):
    """The remaining attack and the cost of a run, to compare with the evidence; null if not measured."""

    left: Number | None
    lost: Number | None


class EvidenceRecord(Part):
    """The recipe's evidence on similar models, and the place of this run in that range."""

    kind: str = _formerly("standing", now="kind")
    why: str
    expected: ExpectedRecord | None
    reached: ReachedRecord
    says: str


class RecipeRecord(Part):
    """The recipe of a run."""

    name: str
    revision: Annotated[int, Field(ge=1)]
    sha256: Sha256
    validated: bool = Field(description="Carries evidence, and no value was changed for this run.")
    evidence: Free | None = _optional(
        "The recipe's evidence on similar models, and the place of this run in that range."
    )
    resolved: Free | None = _optional("Every value that held.")


class SkippedRecord(Part):
    """A sample that could not be used, and why."""

    key: Annotated[str, Column("Sample", "code")]
    reason: Annotated[str, Column("Reason")]


class DataRecord(Part):
    """The data of a run."""

    name: str | None = None
    path: str | None = None
    format: str
    pairs: Count
    skipped: Annotated[
        Annotated[Count, Tag(SKIPPED_VARIANTS[0])] | Annotated[Many[SkippedRecord], Tag(SKIPPED_VARIANTS[1])],
        Discriminator(lambda skipped: SKIPPED_VARIANTS[isinstance(skipped, list | tuple)]),
    ] = Field(description="How many samples were unusable, or which, and why.")
    digest: Sha256
    screened: Free | None = None


class ExportRecord(Part):
    """A file of weights that was written."""

    format: str
    path: str = Field(description="Relative to the folder of the report.")
    sha256: Sha256
    tensor_sha256: Sha256
    parity: Free = Field(description="How far the written file's embeddings are from the measured ones.")


class LossRecord(Part):
    """The losses of one step; a title names the curve of a loss."""

    step: Count
    loss: Number = Field(title="Total loss")
    lr: Positive
    clip: Number | None = Field(None, title="Image to text (L_CLIP)")
    self_supervised: Number | None = Field(None, title="Self-supervised (L_SS)")
    preservation: Positive | None = Field(None, title="Clean images, from where they were", description="Mean squared.")
    restoration: Positive | None = Field(
        None, title="Triggered images, from where the clean ones were", description="The same."
    )
    image_push: Positive | None = Field(None, title="Images, from where they were (pushed)")
    text_push: Positive | None = Field(None, title="Captions, from where they were (pushed)")

    def parts(self) -> dict[str, float]:
        """The losses by key, those too that a method has alone; from outside, what no method could have is left out."""
        fields = vars(self) | (self.model_extra or {})
        numbers = {key: value for key, value in fields.items() if key not in ("step", "lr") and key.isidentifier()}
        return {key: value for key, value in numbers.items() if isinstance(value, float) and abs(value) <= MAX_NUMBER}


class RecoveredRecord(Part):
    """A trigger that one search of an unlearning found."""

    family: str
    class_: str = Field(alias="class")
    size: Share
    size_words: str
    score: Number | None = Field(
        description="Robust deviations by which it is smaller than clean models, or other classes, need."
    )
    excess_asr: Excess


class RoundRecord(Part):
    """One search of an unlearning, and the last losses of the steps that followed it."""

    found: Many[RecoveredRecord]
    scores: Free = Field(description="By family, that of the smallest trigger towards any suspect.")
    losses: Free | None


class UnlearningRecord(Part):
    """The results of the searches of an unlearning. Entry n of rounds is the search after n rounds of steps."""

    suspects: Many[str]
    seconds: Positive
    rounds: Many[RoundRecord]


class TrainingRecord(Part):
    """The record of the finetuning."""

    steps: Count
    pairs: Count = Field(description="Seen over all steps, each as often as it was seen.")
    seconds: Positive
    losses: Many[LossRecord]
    resumed_at: Count = Field(0, description="The step from which an interrupted run resumed, or 0.")
    data_wait_seconds: Positive | None = None
    data_wait_share: Share | None = None
    pairs_per_second: Positive
    peak_memory_bytes: Count = Field(description="Of the process, on the host.")
    peak_device_memory_bytes: Count | None = _optional(
        "The peak memory that torch allocated on the GPU; null without one."
    )
    precision: str | None = _optional("Number format of the forward pass.")
    micro_batch: Annotated[int, Field(ge=1)] | None = _optional("Pairs that a tower took at once; null for all.")
    notes: Many[str] = ()
    unlearning: UnlearningRecord | None = None
    walk: Positive | None = _optional(
        "How far all steps could go by the recipe, in sizes of the weights: the root mean square of the matrix that each moves. The "
        "rates of losses, lr, then are in the same unit. Null where the recipe has a learning rate."
    )


class PolicyRecord(Part):
    """The policy of a run."""

    name: str
    sha256: Sha256
    verdict_without: Verdict | None = _optional("The verdict without the policy's suppressions and severities.")
    resolved: Free | None = _optional("Every threshold and severity in force.")
    idle: Many[str] = Field((), description="Suppressions and severities that met no finding, in words.")


class VocabularyRecord(Part):
    """The words that a run measured by: accuracy, suspects and verdict are about these classes."""

    given: bool = Field(description="Whether the user named the classes; false where they are ImageNet's.")
    classes: Many[str]
    templates: Many[str] = Field(description="Sentences with {} for the class name.")


class BudgetRecord(Part):
    """The budgets of a cleaning."""

    accuracy: Share
    excess: Share
    minutes: Positive | None


class WayTriggerRecord(AimedRecord):
    """A trigger at one share of the way."""

    excess: Excess


class WayRecord(Part):
    """Weights between the original and the cleaned model."""

    share: Share = Field(description="Of the way from the original to the cleaned weights.")
    excess: Excess = Field(description="The highest of any watched trigger; 0 without any.")
    accuracy_lost: Excess
    interval: Interval | None = None
    triggers: Many[WayTriggerRecord] = ()


class WalkBackRecord(Part):
    """The walk back from the cleaned weights towards the original, and where it ended."""

    share: Share = Field(
        description="Of the way, that of the weights of the report: 0 is the original, 1 what the cleaning made."
    )
    witnesses: Count | None = _optional("Triggers that acted on the original and that the cleaning removed.")
    way: Many[WayRecord] = Field(description="In the order of measuring, the cleaned weights first.")
    budget: BudgetRecord | None = None


class TestBackdoorRecord(AimedRecord):
    """A backdoor that was planted in a copy of the model."""

    planted: Excess = Field(description="Excess attack success before cleaning.")
    took: bool = Field(description="Whether it was planted; one that was not does not count.")
    n: Count


class OutcomeRecord(AimedRecord):
    """The rest of one planted backdoor after a candidate."""

    planted: Excess
    left: Excess
    interval: Interval
    accuracy: Share | None
    n: Count
    took: bool
    returned: Excess | None = _optional("Excess after a benign finetuning of the cleaned copy; null if not measured.")
    returned_interval: Interval | None = None

    def is_removed(self, limit: float, /) -> bool:
        """Whether it acts on no more than ``limit``, and does not return beyond that by its whole interval."""
        # By the whole interval: on a few hundred images a removed test backdoor still acts on a few per cent by chance. And after benign
        # steps: test backdoors at 0.003 and 0.045 after an unlearning came back to 0.203 and 0.140 (commit a95ae354: benchmarks/results/notebook.md, "What
        # returns after a candidate").
        returns = self.returned_interval is not None and self.returned_interval[0] > limit
        return self.left <= limit and not returns


class TrialRecord(Part):
    """The effect of a candidate on the copy with planted backdoors, at one share of the way to the cleaned weights."""

    candidate: str = _formerly("rung", now="candidate")
    outcomes: Many[OutcomeRecord]
    accuracy_lost: Excess
    interval: Interval
    kept: Share
    seconds: Positive


class RunRecord(Part):
    """The effect of a candidate on the model itself."""

    excess: Excess = Field(description="The highest of any named or found trigger; 0 without any.")
    accuracy_lost: Excess
    triggers: Count
    errors: Many[str]
    seconds: Positive


class CandidateRecord(Part):
    """One candidate, in the order of trying."""

    candidate: str = _formerly("rung", now="candidate")
    chosen: bool
    why_not: str = Field(description="Why it was not tried; empty if it was.")
    passes: bool = Field(description="On the planted backdoors, at the share of the first trial.")
    trials: Many[TrialRecord] = Field(description="The share that was taken on the planted backdoors first.")
    run: RunRecord | None = Field(description="Its effect on the model itself; null if it was not run.")


class AccuraciesRecord(Part):
    """Clean accuracy before and after a benign finetuning."""

    before: Share | None
    after: Share | None


class ReturnRecord(Part):
    """A trigger before and after a benign finetuning."""

    trigger: Annotated[str, Column("Trigger", "code")]
    target: Annotated[str, Column("Leads to", "name")]
    before: Annotated[Excess | None, Column("Cleaned", "share")]
    after: Annotated[Excess | None, Column("Finetuned", "share")]
    interval: Interval
    suspected: bool = _formerly("known", now="suspected")


class RefinetuneRecord(Part):
    """Triggers before and after a short benign finetuning of a copy."""

    steps: Count
    seconds: Positive
    accuracy: AccuraciesRecord
    probes: Many[ReturnRecord]


class SpentRecord(Part):
    """The times of a run of ``auto``."""

    total: Positive = Field(description="In the process that ended the run, as trials and rebound are.")
    planting: Positive
    trials: Positive
    chosen: Positive = Field(description="Of cleaning the model with the candidate that was taken.")
    rebound: Positive


class AutoRecord(Part):
    """The candidates and tests of a run of ``auto``."""

    chosen: str = Field(description="The candidate that was taken.")
    changed: bool = Field(description="Whether the weights changed.")
    test_backdoors: Many[TestBackdoorRecord] = _formerly("canaries", now="test_backdoors")
    patterns: Count = Field(
        0,
        description="Known triggers and variants that act on the original, natural ones too, and that a cleaning was shown.",
    )
    candidates: Many[CandidateRecord] = _formerly("ladder", now="candidates")
    rebound: RefinetuneRecord | None
    budget: BudgetRecord
    seconds: SpentRecord


class BaseLayerRecord(Part):
    """What a finetune moved of one layer."""

    name: Annotated[str, Column("Layer", "code")]
    numbers: Annotated[Count, Column("Numbers", "number")]
    change: Annotated[Number | None, Column("Change", "share")] = Field(
        description="Norm of the change of its matrices, relative to theirs in the base."
    )
    leading: Annotated[Share | None, Column("In five directions", "share")] = Field(
        description="Share of the squared change in the first five singular directions of each matrix; null where nothing changed."
    )


class MovedClassRecord(Part):
    """How far a finetune moved a class."""

    class_: Annotated[str, Column("Class", "name", is_first=True)] = Field(alias="class")
    text: Annotated[Number, Column("Text", "number")] = Field(
        description="Squared distance of its text embedding, 0 to 4; 2 - 2cos."
    )
    images: Annotated[Number | None, Column("Images", "number")] = Field(
        description="The same of the images that the base takes for it, on average; null without any."
    )


class DifferenceOfTwoRecord(AimedRecord):
    """A trigger on the model and on its base, over images that neither takes for the class without it."""

    own: RateRecord
    base: RateRecord
    interval: Interval = Field(description="95 %, of the difference.")


class LiftRecord(AimedRecord):
    """The class of which known triggers make the model surer than its base, by more than of any other class; and the trigger that does most."""

    log_odds: Number = Field(description="By how much surer, in canonical logits.")
    lead: Number = Field(description="By how much that exceeds the most that any known trigger does for another class.")
    n: Count = Field(description="Images under each trigger.")
    is_over_base: bool = Field(
        True,
        description="Whether the model is compared with its base; else with what clean images explain of the finetune.",
    )


class BaseRecord(Part):
    """The model that was named as the base, and what the finetune moved."""

    name: str = Field(description="File or folder name, without its place.")
    sha256: Sha256
    format: str
    revision: str | None = _optional("The commit, where it was named as one of the Hugging Face hub.")
    is_base: bool = Field(description="Whether the model was finetuned from it, by the two cosines.")
    weights: Number = Field(description="Median over the matrices of the cosine of both models' weights.")
    images: Number | None = Field(description="Mean cosine of both models' embeddings of a clean image.")
    change: Number | None = Field(description="Of all matrices, as of a layer.")
    leading: Share | None
    layers: Many[BaseLayerRecord]
    moved: Many[MovedClassRecord] = Field(description="The class whose images moved most comes first.")
    tried: Count = Field(description="Triggers that were tried on both models.")
    differences: Many[DifferenceOfTwoRecord] = Field(
        description="Of each class the known trigger that acts most on the model and not on the base, the largest first; then found ones."
    )
    left: Many[DifferenceOfTwoRecord] | None = _optional("The same of the cleaned model.")
    lift: LiftRecord | None = _optional(
        "What decides; none of a model that was not finetuned from it, or without known triggers."
    )
    on_both: Many[DifferenceOfTwoRecord] | None = _optional(
        "Of each class the known trigger that acts most on both: natural to the data, or a backdoor that the base has as well."
    )
    on_base: Many[DifferenceOfTwoRecord] | None = _optional(
        "Of each class the known trigger that acts on the base alone; of a comparison, since an audit tries what acts on the model."
    )


class ForecastRecord(Part):
    """What was known of the run before it measured anything."""

    verdicts: Many[Verdict] = Field(description="Those that were still possible.")
    never_passes: Many[str] = Field(description="Why it could not pass, in words; [] where it could.")
    seconds: Positive | None = _optional("The estimate; null where nobody listened to the run, as with --quiet.")
    early_seconds: Positive | None = _optional("The same of a run that ends early; null of one that cannot.")
    memory_bytes: Count | None = _optional("The estimate of the memory.")


SANITIZE_SECTIONS = ("before", "after", "recipe", "exports", "training")  # sections of a sanitization alone


class Report(Part):
    """The report of an audit or a sanitization. Fields may be added; those here keep their meaning."""

    model_config = ConfigDict(
        title="A clipclean report",
        json_schema_extra={
            "if": {"required": ["command"], "properties": {"command": {"const": "sanitize"}}},
            "then": {
                "required": list(SANITIZE_SECTIONS),
                "properties": {key: {"not": {"type": "null"}} for key in SANITIZE_SECTIONS},
            },
        },
    )

    schema_version: Literal["2"]
    tool: ToolRecord
    command: Command
    model: ModelRecord
    verdict: Verdict
    suppressed: Many[Suppressed] = Field((), description="Findings that the policy set aside; not among the others.")
    findings: Many[Finding]
    suspects: Many[SuspectRecord]
    measurements: MeasurementsRecord
    before: AuditRecord | None = None
    after: AuditRecord | None = None
    policy: PolicyRecord | None = None
    recipe: RecipeRecord | None = None
    data: DataRecord | None = None
    vocabulary: VocabularyRecord | None = _optional(
        "Classes and templates; reports of clipclean 0.2 and before have none."
    )
    seed: int | None = None
    effort: EffortName | None = None
    training: TrainingRecord | None = None
    exports: Many[ExportRecord] | None = None
    cleaning: WalkBackRecord | None = None
    auto: AutoRecord | None = None
    base: BaseRecord | None = _optional("Of a run with --base.")
    seconds: Positive | None = _optional("Of the whole audit.")
    forecast: ForecastRecord | None = _optional("Estimate and possible verdicts; reports of 0.2 and before have none.")
    environment: Free | None = None
    notes: Many[str] = ()
    labels: dict[str, str] | None = _optional("The user's own, by key.")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        missing_keys = [key for key in SANITIZE_SECTIONS if getattr(self, key) is None]
        if self.command == "sanitize" and missing_keys:
            raise ValueError(f"{', '.join(missing_keys)} missing")
        return self

    def __repr__(self) -> str:
        """One line: a report of many findings would fill the screen of whoever looks at one."""
        return f"<Report: {self.command} of {self.model.name[:80]!a}, {self.verdict}, {len(self.findings)} findings>"

    __str__ = __repr__

    @property
    def is_audit(self) -> bool:
        """Whether one model was looked at, and none cleaned."""
        return self.command == "audit"

    @property
    def is_changed(self) -> bool:
        """Whether the weights that a cleaning ended with are others than the original's."""
        return bool(self.training and self.training.steps and self.cleaning and self.cleaning.share)


@functools.cache
def schema() -> dict[str, object]:
    """The JSON Schema (draft 2020-12) of a report."""
    return {"$schema": SCHEMA_DIALECT, "$id": "urn:clipclean:report:2", **Report.model_json_schema()}


def parse(value: object, /) -> Report:
    """The report that a JSON value is.

    Raises:
        RefusedInput: it is none; the message lists what is wrong and where.
    """
    try:
        return Report.model_validate(value)
    except ValidationError as error:
        problems = list(dict.fromkeys(_problems(error, value)))
    listed_problems = [*problems[:MAX_PROBLEMS], *(["…"] if len(problems) > MAX_PROBLEMS else [])]
    problem_lines = "\n".join(f"  {problem}" for problem in listed_problems)
    raise RefusedInput(
        f"This is not a clipclean report of schema version 2:\n{problem_lines}\n"
        "Take an unedited report.json, and the version of clipclean in its tool.version."
    )


def _problems(error: ValidationError, value: object) -> Iterator[str]:
    """Each place where a value departs from the schema, as ``path: what is wrong``."""
    if isinstance(value, dict) and value.get("command") == "sanitize":
        yield from (f"report.{key}: missing" for key in SANITIZE_SECTIONS if value.get(key) is None)
    for problem in error.errors(include_url=False):
        if problem["type"] == "value_error" and not problem["loc"]:
            continue  # told above
        steps = (step for step in problem["loc"] if step not in SKIPPED_VARIANTS)
        path = "report" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
        input_words = repr(problem["input"])
        input_words = input_words if len(input_words) <= 60 else f"{input_words[:57]}…"
        is_missing = problem["type"] == "missing"
        yield (
            f"{path}: missing"
            if is_missing
            else f"{path}: {input_words}: {problem['msg'].removeprefix('Value error, ')}"
        )
