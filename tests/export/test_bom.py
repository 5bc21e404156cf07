import json

import pytest

from clipclean.export import bom, provenance

OUTPUTS = {"open_clip_model.safetensors": "ef" * 32, "open_clip_config.json": "56" * 32}


def problems(text):
    """What the schema of CycloneDX itself finds wrong."""
    cyclonedx = pytest.importorskip("cyclonedx.validation.json")
    from cyclonedx.schema import SchemaVersion

    return cyclonedx.JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)


def made(report):
    return bom.text(provenance.record(report, outputs=OUTPUTS))


def test_the_schema_of_cyclonedx_accepts_the_bill_of_a_sanitized_model(report):
    assert problems(made(report)) is None


def test_the_schema_of_cyclonedx_accepts_the_bill_of_an_export(told):
    assert problems(made(told("hf", "onnx"))) is None


def test_the_schema_would_notice(report):
    spoilt = json.loads(made(report))
    spoilt["metadata"]["component"]["modelCard"]["unknown"] = 1
    assert problems(json.dumps(spoilt)) is not None


def test_the_model_has_a_card_an_ancestor_and_the_files_with_their_digests(report):
    found = json.loads(made(report))
    model = found["metadata"]["component"]
    assert model["type"] == "machine-learning-model"
    assert model["pedigree"]["ancestors"][0]["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert model["modelCard"]["modelParameters"]["modelArchitecture"] == "ViT-B-32"
    assert {
        part["name"]: part["hashes"][0]["content"] for part in found["components"] if part["type"] == "file"
    } == OUTPUTS
    assert [part["name"] for part in found["components"] if part["type"] == "data"] == ["clean"]
    assert {"name": "clipclean:verdict", "value": "pass"} in model["properties"]


def test_accuracy_stands_with_its_interval_and_parity_with_its_reader(report):
    metrics = json.loads(made(report))["metadata"]["component"]["modelCard"]["quantitativeAnalysis"][
        "performanceMetrics"
    ]
    assert metrics[0] == {
        "type": "clean accuracy",
        "value": "0.75",
        "slice": "before cleaning, n 100",
        "confidenceInterval": {"lowerBound": "0.1", "upperBound": "0.9"},
    }
    assert metrics[2]["slice"] == "open_clip_model.safetensors, read by nobody 1.0, n 126"


def test_accuracy_that_was_not_measured_is_left_out(report):
    report["before"]["measurements"]["clean_accuracy"] = None
    report["after"]["measurements"]["clean_accuracy"]["value"] = None
    assert "clean accuracy" not in made(report)


def test_an_export_has_no_data_component_since_nothing_was_trained(told):
    found = json.loads(made(told("hf")))
    assert {part["type"] for part in found["components"]} == {"file"}
    assert "datasets" not in found["metadata"]["component"]["modelCard"]["modelParameters"]
    assert "not audited" in str(found["metadata"]["component"]["modelCard"]["considerations"])


def test_equal_records_give_equal_bills_and_others_another_serial_number(report):
    first = made(report)
    assert made(report) == first
    report["seed"] = 4
    assert json.loads(made(report))["serialNumber"] != json.loads(first)["serialNumber"]
