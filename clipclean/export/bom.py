"""``bom.cdx.json``: a CycloneDX bill of materials of a model, with its model card (an ML-BOM).

Source: CycloneDX 1.6. cyclonedx-python-lib has no model card, so the JSON is spelt here, and that library's schema judges
it in the tests.
"""

import json
import uuid
from collections.abc import Iterator

from clipclean.export.provenance import Provenance, UsedCheckpoint

NAME = "bom.cdx.json"
SPEC = "1.6"
MODEL, INPUT, DATA = "model", "input-model", "clean-pairs"  # references within the document
LIMITATIONS = ("An audit covers only the triggers that it searched for and measured. It says nothing about others.",)
NOT_AUDITED = ("The weights were rewritten, not audited: a backdoor would have been exported like everything else.",)


def document(record: Provenance, /) -> dict[str, object]:
    """The bill of materials that a provenance record amounts to; equal records give equal ones."""
    tool = {"type": "application", "name": "clipclean", "version": record.tool.version}
    packages = _packages(record)
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(record.model_dump(), sort_keys=True))}",
        "version": 1,
        "metadata": {"tools": {"components": [tool, *packages]}, "component": _model(record)},
        "components": [*_files(record), *([_data(record)] if record.audits else [])],
    }


def text(record: Provenance, /) -> str:
    """The bill of materials as JSON."""
    return json.dumps(document(record), indent=2, allow_nan=False) + "\n"


def _packages(record: Provenance, /) -> list[dict[str, str]]:
    """The libraries that computed the weights; ``environment`` also describes the machine, which is no component."""
    libraries = ("torch", "torchvision", "open_clip_torch")
    return [
        {"type": "library", "name": name, "version": str(record.environment[name])}
        for name in libraries
        if name in record.environment
    ]


def _model(record: Provenance, /) -> dict[str, object]:
    source = record.input
    verdict = [{"name": "clipclean:verdict", "value": record.verdict}] if record.verdict else []
    return {
        "type": "machine-learning-model",
        "bom-ref": MODEL,
        "name": f"{source.name} ({'sanitized' if record.audits else 'exported'})",
        "pedigree": {"ancestors": [_ancestor(source)]},
        "modelCard": {
            "modelParameters": {
                "task": "zero-shot-image-classification",
                "architectureFamily": "CLIP",
                "modelArchitecture": source.architecture,
                "inputs": [{"format": "image"}, {"format": "text"}],
                "outputs": [{"format": "embedding"}],
                **({"datasets": [{"ref": DATA}]} if record.audits else {}),
            },
            "quantitativeAnalysis": {"performanceMetrics": list(_metrics(record))},
            "considerations": {"technicalLimitations": list(LIMITATIONS if record.audits else NOT_AUDITED)},
        },
        "properties": [
            {"name": "clipclean:activation", "value": source.activation},
            {"name": "clipclean:tensor_sha256", "value": record.exports[0].tensor_sha256},
            *verdict,
        ],
    }


def _ancestor(source: UsedCheckpoint, /) -> dict[str, object]:
    return {
        "type": "machine-learning-model",
        "bom-ref": INPUT,
        "name": source.name,
        "hashes": [_hash(source.sha256)],
        "properties": [{"name": "clipclean:tensor_sha256", "value": source.tensor_sha256}],
    }


def _metrics(record: Provenance, /) -> Iterator[dict[str, object]]:
    """Accuracy before and after, with its interval; how far each layout computes from what was measured."""
    sides = (("before", record.audits.before), ("after", record.audits.after)) if record.audits else ()
    for side, audit in sides:
        rate = audit.clean_accuracy
        if rate and rate["value"] is not None:
            low, high = map(str, rate["interval"])
            yield {
                "type": "recall@1" if "recall@1" in (rate.get("definition") or "") else "clean accuracy",
                "value": str(rate["value"]),
                "slice": f"{side} cleaning, n {rate['n']}",
                "confidenceInterval": {"lowerBound": low, "upperBound": high},
            }
    for entry in record.exports:
        parity = entry.parity
        where = f"{entry.path}, read by {parity['reader']}, n {parity['n']}"
        yield {"type": "smallest cosine to the measured model", "value": str(parity["min_cosine"]), "slice": where}


def _files(record: Provenance, /) -> Iterator[dict[str, object]]:
    for name, digest in sorted(record.outputs.items()):
        yield {"type": "file", "bom-ref": f"file:{name}", "name": name, "hashes": [_hash(digest)]}


def _data(record: Provenance, /) -> dict[str, object]:
    data = record.data
    return {
        "type": "data",
        "bom-ref": DATA,
        "name": data.name,
        "description": f"{data.pairs} clean pairs of images and captions",
        "data": [{"type": "dataset", "name": data.name}],
        "properties": [{"name": "clipclean:pairs_sha256", "value": data.digest}],
    }


def _hash(digest: str, /) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest}
