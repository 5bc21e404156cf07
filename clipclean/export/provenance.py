"""``provenance.json``: inputs, steps, outputs and measurements of a run, all with digests."""

import json
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from clipclean.errors import RefusedInput
from clipclean.export import formats
from clipclean.findings import plain

NAME = "provenance.json"
PACKAGES = ("torch", "torchvision", "open_clip_torch", "numpy", "pillow", "nltk", "pydantic")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Json = dict[str, Any]  # Any: JSON whose shape the schema of the report holds
Rate = dict[str, Any] | None  # a value, its interval and its n


def _known_format(name: str, /) -> str:
    """The name of an export format; raises ValueError for any other."""
    if name not in formats.FORMATS:
        raise ValueError(f"should be one of {', '.join(formats.FORMATS)}")
    return name


class ClosedPart(BaseModel):
    """Frozen values; nothing is coerced, nothing unknown is let through."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Tool(ClosedPart):
    """The program that wrote the record."""

    name: Literal["clipclean"]
    version: str


class OpenPart(ClosedPart):
    """A part of the report, which may tell more than every run does."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)


class UsedCheckpoint(OpenPart):
    """The checkpoint that was read: digests of its file and of its tensors, and how the rest was told."""

    name: str
    sha256: Sha256
    format: str
    tensor_sha256: Sha256
    architecture: str
    architecture_how: str
    activation: Literal["gelu", "quick_gelu"]
    activation_how: str


class UsedData(OpenPart):
    """The pairs that were used; ``digest`` is over the images' digests and the captions, sorted."""

    name: str
    format: str
    pairs: int
    skipped: list[Json]
    digest: Sha256


class MeasuredAudit(ClosedPart):
    """One measurement of the model, in short: the whole stands in report.json."""

    clean_accuracy: Rate
    findings: list[Json]
    suspects: list[Json]


class MeasuredAudits(ClosedPart):
    """Before the weights were changed and after; ``judged`` are the findings that the verdict is made of."""

    before: MeasuredAudit
    after: MeasuredAudit
    judged: list[Json]
    suppressed: list[Json]


class WrittenWeights(ClosedPart):
    """One file of weights; ``parity`` is how far it computes from what was measured."""

    format: Annotated[str, AfterValidator(_known_format)]
    path: str
    sha256: Sha256
    tensor_sha256: Sha256
    parity: Json


class Provenance(ClosedPart):
    """The record. What only ``sanitize`` does is null in one of ``export``."""

    schema_version: Literal["1"]
    tool: Tool
    command: Literal["sanitize", "export"]
    input: UsedCheckpoint
    data: UsedData
    recipe: Json | None
    policy: Json | None
    seed: int | None
    verdict: Literal["pass", "fail", "inconclusive"] | None
    audits: MeasuredAudits | None
    environment: dict[str, Any]
    exports: list[WrittenWeights]
    labels: dict[str, str] | None = None  # the user's own
    outputs: dict[str, Sha256]


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that can change a result."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def hardware(device: str, /) -> dict[str, str | int]:
    """The machine in words, without host names or paths."""
    import torch

    return {
        "platform": f"{sys.platform}-{platform.machine()}",
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
    }


def record(report: Json, /, *, outputs: Mapping[str, str]) -> Provenance:
    """The record of a run, from its report, or from what ``export`` tells in the report's words.

    It holds no time, and ``outputs`` (digests by name) no report, which does: two equal runs give equal records.
    """
    value = {
        "schema_version": "1",
        "tool": report["tool"],
        "command": report["command"],
        "input": {key: value for key, value in report["model"].items() if key != "path"},
        "data": report["data"],
        "recipe": report.get("recipe"),
        "policy": report.get("policy"),
        "seed": report.get("seed"),
        "verdict": report.get("verdict"),
        "audits": _audits(report) if "before" in report else None,
        "environment": report["environment"],
        "exports": report["exports"],
        "labels": report.get("labels"),
        "outputs": dict(outputs),
    }
    return parse(plain(value))


def _audits(report: Json, /) -> Json:
    sides = {
        side: {
            "clean_accuracy": report[side]["measurements"].get("clean_accuracy"),
            "findings": report[side]["findings"],
            "suspects": report[side]["suspects"],
        }
        for side in ("before", "after")
    }
    return sides | {"judged": report["findings"], "suppressed": report["suppressed"]}


def text(record: Provenance, /) -> str:
    """The record as JSON with sorted keys."""
    return json.dumps(record.model_dump(), indent=2, sort_keys=True, allow_nan=False) + "\n"


def parse(value: object, /) -> Provenance:
    """The record in a JSON value that may be anything.

    Raises:
        RefusedInput: it is none of schema version 1; the first problems are named.
    """
    try:
        return Provenance.model_validate(value)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc']))[:80]!a}: {each['msg']}" for each in error.errors()[:5]]
        raise RefusedInput(f"it is not a provenance record of schema version 1: {'; '.join(problems)}.") from error
