"""What ``inspect``, ``screen``, ``compare`` with a base, ``plant``, ``export`` and ``references build`` return; ``--json`` prints each of them by ``as_json``."""

from typing import Annotated, Literal, TypedDict

from pydantic import Field

from clipclean.findings import Finding
from clipclean.schema.part import Count, Number, Part
from clipclean.schema.report import (
    BaseRecord,
    DataRecord,
    ExportRecord,
    Free,
    Many,
    MeasurementsRecord,
    ModelRecord,
    Sha256,
    Share,
    ToolRecord,
    VocabularyRecord,
)


class Recognised(Part):
    """One property of a checkpoint, and how it was decided."""

    name: str | None = Field(description="None where the file alone does not decide it.")
    how: str = Field(description="How it was decided, or what to do where it was not.")


class PreprocessRecord(Part):
    """How an image becomes the model's input, in open_clip's terms."""

    size: Count = Field(description="Side in pixels.")
    mean: Many[Number]
    std: Many[Number]
    interpolation: str
    resize_mode: str


class TallyRecord(Part):
    """Counts of tensors, of their elements and of their bytes."""

    tensors: Count
    elements: Count
    bytes: Count


class TensorsRecord(TallyRecord):
    """The tally of all tensors, and of each dtype."""

    dtypes: dict[str, TallyRecord]


class Inspection(Part):
    """The description of a checkpoint file. Nothing in it was executed, and no model was built from it."""

    name: str = Field(description="File or folder name, without its place.")
    revision: str | None = Field(None, description="The commit, of a model that was named as one of the hub.")
    format: str
    producer: str
    architecture: Recognised
    activation: Recognised
    preprocess: PreprocessRecord | None
    tensors: TensorsRecord
    size: Count = Field(description="Bytes of the file.")
    sha256: Sha256 = Field(description="Of the file.")
    tensor_sha256: Sha256 = Field(description="Of the tensors alone, whatever file holds them.")
    config: str | None = Field(description="The name of the config that stands beside the file.")
    loaders: dict[str, str] = Field(description="What each library takes from the file.")
    notes: Many[str]


class SignalRecord(Part):
    """One of the signals that a ranking combines."""

    name: str
    title: str
    weight: Number
    says: str


class SignalValue(Part):
    """One signal's value for one pair."""

    value: Number | None
    share: Share = Field(description="Of all pairs that score at least as high.")


class RankedPair(Part):
    """A pair, with all that places it in the ranking."""

    rank: Annotated[int, Field(ge=1)]
    key: str
    caption: str
    score: Number | None = Field(description="Comparable within one ranking only; no probability.")
    suspicious: bool
    dropped: bool
    reasons: Many[str] = Field(description="Names of the signals that are strong.")
    signals: dict[str, SignalValue]


class ScreenedRecord(Part):
    """How many pairs stand out, how many were left out, and by which rule."""

    pairs: Count
    suspicious: Count
    suspicious_share: Share
    dropped: Count
    drop: str = Field(description="``none``, ``auto``, or a share such as ``2%``.")
    rule: str
    signals: Many[str]
    dropped_keys: Many[str] = Field((), description="Of a cleaning: the pairs that were not trained on.")


class KeptRecord(Part):
    """The file with the pairs that are kept."""

    name: str
    sha256: Sha256
    pairs: Count


class Screening(Part):
    """A ranking of the pairs of a supposedly clean set, most suspicious first. It is no verdict."""

    schema_version: Literal["1"]
    tool: ToolRecord
    command: Literal["screen"]
    model: ModelRecord
    data: DataRecord
    triggers: Many[str]
    screened: ScreenedRecord
    signals: Many[SignalRecord]
    pairs: Many[RankedPair]
    kept: KeptRecord | None
    environment: Free
    notes: Many[str]


class ComparedModels(Part):
    """A model beside the one that it was finetuned from. It is no audit: unknown triggers were not searched for."""

    schema_version: Literal["1"]
    tool: ToolRecord
    command: Literal["compare"]
    model: ModelRecord
    base: BaseRecord
    findings: Many[Finding] = Field(description="What acts on the model alone, and that the base is none.")
    data: DataRecord
    vocabulary: VocabularyRecord
    environment: Free
    notes: Many[str]


class PlantedModel(Part):
    """A known backdoor in a copy of a model, with what it does before and after planting."""

    trigger: str
    target: str
    planting: Free = Field(description="How it was planted.")
    seed: int
    before: MeasurementsRecord
    after: MeasurementsRecord
    accuracy_lost: Number | None = Field(description="By the measure that lost most.")
    sha256: Sha256 = Field(description="Of the backdoored file.")


class Exported(Part):
    """The record of an export: its inputs, the images it was compared on, and its files."""

    tool: ToolRecord
    command: Literal["export"]
    model: ModelRecord
    labels: dict[str, str] | None = Field(None, description="The user's own, by key.")
    data: DataRecord
    exports: Many[ExportRecord]
    environment: Free
    notes: Many[str]


class StoredModel(TypedDict):
    """The sizes of one clean model."""

    name: str
    sizes: dict[str, dict[str, float]]


class ReferencesFile(TypedDict):
    """What a references file holds: numbers, no weights."""

    format: str
    code: str  # digest of the code that measured
    kind: str
    effort: str
    vocabulary: str
    classes: int
    models: list[StoredModel]
