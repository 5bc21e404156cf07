"""Where exported weights come from: a provenance record, checksums and a model card."""

import json
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from clipclean import files

SUMS = "SHA256SUMS"
RECORDS = ("README.md", "provenance.json", SUMS)  # what stands beside weights, of any layout
PACKAGES = ("torch", "torchvision", "open_clip_torch", "numpy", "pillow", "nltk", "pydantic")


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that can change a result."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def hardware(device: str, /) -> dict[str, Any]:
    """The machine in words, without host names or paths."""
    import torch

    return {
        "platform": f"{sys.platform}-{platform.machine()}",
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
    }


def record(report: dict[str, Any], /, *, environment: dict[str, Any], outputs: dict[str, str]) -> str:
    """``provenance.json``: what went in (by digest), what was done, what came out (by digest), and what was measured.

    It holds no time, and ``outputs`` no digest of a report, which does: two equal runs give equal records.
    """
    audits = {
        when: report[when]["measurements"].get("clean_accuracy") for when in ("before", "after") if when in report
    }
    value = {
        "schema_version": "1",
        "tool": report["tool"],
        "input": report["model"],
        "data": report["data"],
        "recipe": report["recipe"],
        "seed": report["seed"],
        "environment": environment,
        "verdict": report["verdict"],
        "clean_accuracy": audits,
        "outputs": outputs,
    }
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def digests(folder: Path, /) -> dict[str, str]:
    """The SHA-256 of every file below the folder but ``SHA256SUMS``, by its name relative to it."""
    return {name: files.sha256(folder / name) for name in files.below(folder) if name != SUMS}


def checksums(folder: Path, /) -> str:
    """``SHA256SUMS`` in the format of ``sha256sum``, over every file below the folder, sorted by name."""
    return "".join(f"{digest}  {name}\n" for name, digest in digests(folder).items())


def model_card(report: dict[str, Any], /) -> str:
    """``README.md`` for the folder: front matter, what was done to the weights, what was measured, how to load them."""
    before, after = report["before"]["measurements"], report["after"]["measurements"]
    recipe, model = report["recipe"], report["model"]
    verdict = report["verdict"]
    lines = [
        "---",
        "library_name: open_clip",
        "pipeline_tag: zero-shot-image-classification",
        "tags: [clip, clipclean]",
        "base_model_relation: finetune",
        "---",
        "",
        f"# {model['architecture']}, finetuned by clipclean",
        "",
        f"Verdict: **{verdict}**. Input: `{_plain(model['name'])}` (sha256 `{model['sha256']}`), recipe `{recipe['name']}`,"
        f" {report['data']['pairs']} clean pairs (digest `{report['data']['digest']}`).",
        "",
        "| measure | before | after | n |",
        "|---|---|---|---|",
        _row("clean accuracy", before.get("clean_accuracy"), after.get("clean_accuracy")),
    ]
    was = {(probe["trigger"], probe["target"]): probe["asr"] for probe in before["probes"]}
    for probe in (probe for probe in after["probes"] if probe["known"]):  # the panel has a table in report.html
        key = probe["trigger"], probe["target"]
        lines.append(_row(f"attack success rate, {key[0]} to {key[1]}", was.get(key), probe["asr"]))
    lines += [
        "",
        "Definitions, intervals and findings are in `report.json`; where the weights come from in `provenance.json`.",
        "What was not probed for is not cleared: see the findings.",
        "",
        "```python",
        "import open_clip",
        'model, _, preprocess = open_clip.create_model_and_transforms("local-dir:THIS_FOLDER")',
        'tokenizer = open_clip.get_tokenizer("local-dir:THIS_FOLDER")',
        "```",
        "",
    ]
    return "\n".join(lines)


def _plain(name: str) -> str:
    """A file name that cannot end a code span or a line."""
    return "".join(char if char.isalnum() or char in " ._+-" else "_" for char in name)


def _row(name: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    def cell(rate: dict[str, Any] | None) -> str:
        if not rate or rate["value"] is None:
            return "–"
        return f"{rate['value']:.3f} [{rate['interval'][0]:.3f}, {rate['interval'][1]:.3f}]"

    safe = name.replace("|", "\\|")
    return f"| {safe} | {cell(before)} | {cell(after)} | {(before or after or {}).get('n', '–')} |"
