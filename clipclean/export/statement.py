"""``provenance.intoto.json``: the provenance as an in-toto statement, for signing tools and policy engines.

Source: in-toto Attestation Framework, Statement v1; SLSA v1.0, Build Provenance. It is not signed: a statement becomes an
attestation when somebody signs it.
"""

import json
from collections.abc import Mapping

from clipclean.export import provenance
from clipclean.export.provenance import Provenance

NAME = "provenance.intoto.json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:x-clipclean:{command}:1"
DATA_DIGEST = "clipcleanPairs"  # not of a file: over the sorted digests of images and their captions


def statement(record: Provenance, /, *, sha256: str, others: Mapping[str, str]) -> dict[str, object]:
    """The statement about every file in the record's ``outputs``, and about those beside them.

    Args:
        record: the provenance record.
        sha256: of the file that holds the record.
        others: digests by name of what else the run wrote: the reports, which tell the time, and the bill of materials.
    """
    return {
        "_type": STATEMENT,
        "subject": [
            {"name": name, "digest": {"sha256": digest}}
            for name, digest in sorted({**record.outputs, **others}.items())
        ],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE.format(command=record.command),
                "externalParameters": _parameters(record),
                "internalParameters": {"environment": record.environment},
                "resolvedDependencies": [*_inputs(record), *_packages(record)],
            },
            "runDetails": {
                "builder": {
                    "id": f"pkg:pypi/clip-sanitizer@{record.tool.version}",
                    "version": {"clipclean": record.tool.version},
                },
                "byproducts": [{"name": provenance.NAME, "digest": {"sha256": sha256}}],
            },
        },
    }


def text(record: Provenance, /, *, sha256: str, others: Mapping[str, str]) -> str:
    """The statement as JSON."""
    return json.dumps(statement(record, sha256=sha256, others=others), indent=2, allow_nan=False) + "\n"


def _parameters(record: Provenance, /) -> dict[str, object]:
    """The user's settings."""
    chosen = {"command": record.command, "model": record.input.name, "data": record.data.name}
    formats = list(dict.fromkeys(entry.format for entry in record.exports))
    optional = {
        key: value for key in ("recipe", "policy", "seed", "labels") if (value := getattr(record, key)) is not None
    }
    return {**chosen, "formats": formats, **optional}


def _inputs(record: Provenance, /) -> list[dict[str, object]]:
    model, data = record.input, record.data
    return [
        {"name": "model", "digest": {"sha256": model.sha256}, "annotations": {"file": model.name}},
        {"name": "data", "digest": {DATA_DIGEST: data.digest}, "annotations": {"file": data.name}},
    ]


def _packages(record: Provenance, /) -> list[dict[str, str]]:
    """The packages that could change the result, as package URLs, with names normalised for these."""
    installed = {name: version for name, version in record.environment.items() if name in provenance.PACKAGES}
    return [{"uri": f"pkg:pypi/{name.replace('_', '-')}@{version}"} for name, version in sorted(installed.items())]
