"""The records beside the weights: checksums, an in-toto statement and a model card, written in the order in which they refer to each other.

``SHA256SUMS`` has the digest of every file below a folder, as ``sha256sum`` writes and checks it. ``provenance.intoto.json`` says where
the folder comes from, as an in-toto statement for signing tools and policy engines. Source: in-toto Attestation Framework, Statement
v1; SLSA v1.0, Build Provenance. It is not signed: a statement becomes an attestation when somebody signs it.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from clipclean import files, machine
from clipclean.errors import RefusedInput
from clipclean.export import model_card
from clipclean.export.model_card import Json
from clipclean.findings import plain

SUMS = "SHA256SUMS"
MAX_SUMS = 2**20  # bytes of the list; a folder of ours has at most thirty files
LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>[^\x00-\x1f\x7f\\]+)")
STATEMENT = "provenance.intoto.json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:x-clipclean:{command}:2"
DATA_DIGEST = "clipcleanPairs"  # not of a file: over the sorted digests of images and their captions
TENSOR_DIGEST = "clipcleanTensors"  # of what is in a file of weights: the same in every layout
UNSTATED = (STATEMENT, SUMS)  # no subjects of the statement
FORMER = ("provenance.json", "bom.cdx.json")  # of earlier versions: a new run into their folder replaces them
FILES = (model_card.NAME, *UNSTATED, *FORMER)


def write(folder: Path, report: Json, /) -> None:
    """Write the model card, the in-toto statement about every other file, and the checksums of all.

    Args:
        folder: where the weights and whatever else belongs to the run stand already.
        report: of the run; what ``export`` tells has the same words, and no verdict.
    """
    files.write_text(folder / model_card.NAME, model_card.model_card(report))
    files.write_text(folder / STATEMENT, statement(report, digests=digests(folder)))
    write_checksums(folder)


def write_checksums(folder: Path, /) -> None:
    """Write the checksums of all that stands in a folder: they also say what a later run may replace."""
    files.write_text(folder / SUMS, sums(folder))


def digests(folder: Path, /) -> dict[str, str]:
    """The SHA-256 of every file below the folder but ``SHA256SUMS``, by its name relative to it."""
    return {name: files.sha256(folder / name) for name in files.below(folder) if name != SUMS}


def sums(folder: Path, /) -> str:
    """The list over every file below the folder, sorted by name."""
    return "".join(f"{digest}  {name}\n" for name, digest in digests(folder).items())


def parse(listed: bytes, /) -> dict[str, str]:
    """Digests by name, of a list that may be anything.

    Raises:
        RefusedInput: it is too long or no such list, names a file twice, or names one outside the folder.
    """
    if len(listed) > MAX_SUMS:
        raise RefusedInput(f"{SUMS} has {len(listed):,} bytes; no honest one needs more than {MAX_SUMS:,}.")
    found: dict[str, str] = {}
    for number, line in enumerate(listed.decode("utf-8", "backslashreplace").splitlines(), start=1):
        match = LINE.fullmatch(line)
        if match is None:
            raise RefusedInput(f"{SUMS}, line {number}, is no digest with a name: {line[:80]!a}.")
        name = match["name"]
        if not is_inside(name):
            raise RefusedInput(f"{SUMS}, line {number}, names a file outside its folder: {name[:80]!a}.")
        if name in found:
            raise RefusedInput(f"{SUMS}, line {number}, names a file for the second time: {name[:80]!a}.")
        found[name] = match["digest"]
    if not found:
        raise RefusedInput(f"{SUMS} is empty, so it protects nothing.")
    return found


def is_inside(name: str, /) -> bool:
    """Whether a relative name, in the one spelling of it, stays in its folder."""
    return str(PurePosixPath(name)) == name and not name.startswith("/") and ".." not in name.split("/")


def statement(report: Json, /, *, digests: Mapping[str, str]) -> str:
    """The statement about every file of a folder, as JSON.

    Args:
        report: of the run; what ``export`` tells has the same words, and neither recipe nor verdict.
        digests: SHA-256 by name of the files, all but the statement and the checksums.
    """
    verdict = report.get("verdict")
    walk = report.get("cleaning") or {}
    share = {"clipclean_share": walk["share"]} if "budget" in walk else {}  # earlier versions did not state it
    tensors = {entry["path"]: {TENSOR_DIGEST: entry["tensor_sha256"]} for entry in report["exports"]}
    made = {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": {"sha256": digest, **tensors.get(name, {})}}
            for name, digest in sorted(digests.items())
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE.format(command=report["command"]),
                "externalParameters": {
                    "command": report["command"],
                    "model": report["model"]["name"],
                    "data": report["data"]["name"],
                    "formats": list(dict.fromkeys(entry["format"] for entry in report["exports"])),
                    **{
                        key: report[key]
                        for key in ("recipe", "policy", "seed", "labels")
                        if report.get(key) is not None
                    },
                },
                "internalParameters": {"environment": report["environment"]},
                "resolvedDependencies": _dependencies(report),
            },
            "runDetails": {
                "builder": {
                    "id": f"pkg:pypi/clip-sanitizer@{report['tool']['version']}",
                    "version": {"clipclean": report["tool"]["version"]},
                },
                **({"metadata": {"clipclean_verdict": verdict, **share}} if verdict else {}),
            },
        },
    }
    return json.dumps(plain(made), indent=2, allow_nan=False) + "\n"


def _dependencies(report: Json, /) -> list[Json]:
    """The model, the data, and the packages that could change the result, as package URLs, with names normalised for these."""
    model, data = report["model"], report["data"]
    return [
        {
            "name": "model",
            "digest": {"sha256": model["sha256"], TENSOR_DIGEST: model["tensor_sha256"]},
            "annotations": {"file": model["name"]}
            | {key: model[key] for key in ("format", "architecture", "activation")},
        },
        {"name": "data", "digest": {DATA_DIGEST: data["digest"]}, "annotations": {"file": data["name"]}},
        *(
            {"uri": f"pkg:pypi/{name.replace('_', '-')}@{version}"}
            for name, version in sorted(report["environment"].items())
            if name in machine.PACKAGES
        ),
    ]
