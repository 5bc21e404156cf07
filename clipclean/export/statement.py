"""``provenance.intoto.json``: where a folder comes from, as an in-toto statement for signing tools and policy engines.

Source: in-toto Attestation Framework, Statement v1; SLSA v1.0, Build Provenance. It is not signed: a statement becomes an
attestation when somebody signs it.
"""

import json
from collections.abc import Mapping
from typing import Any

from clipclean import machine
from clipclean.findings import plain

NAME = "provenance.intoto.json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:x-clipclean:{command}:2"
DATA_DIGEST = "clipcleanPairs"  # not of a file: over the sorted digests of images and their captions
TENSOR_DIGEST = "clipcleanTensors"  # of what is in a file of weights: the same in every layout

Json = dict[str, Any]  # Any: JSON whose shape the schema of the report holds


def statement(report: Json, /, *, digests: Mapping[str, str]) -> Json:
    """The statement about every file of a folder.

    Args:
        report: of the run; what ``export`` tells has the same words, and neither recipe nor verdict.
        digests: SHA-256 by name of the files, all but the statement and the checksums.
    """
    verdict = report.get("verdict")
    walk = report.get("cleaning") or {}
    share = {"clipclean_share": walk["share"]} if "budget" in walk else {}  # earlier versions did not state it
    tensors = {entry["path"]: {TENSOR_DIGEST: entry["tensor_sha256"]} for entry in report["exports"]}
    made = {
        "_type": STATEMENT,
        "subject": [
            {"name": name, "digest": {"sha256": digest, **tensors.get(name, {})}}
            for name, digest in sorted(digests.items())
        ],
        "predicateType": PREDICATE,
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
    return {key: plain(value) for key, value in made.items()}


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


def text(report: Json, /, *, digests: Mapping[str, str]) -> str:
    """The statement as JSON."""
    return json.dumps(statement(report, digests=digests), indent=2, allow_nan=False) + "\n"
