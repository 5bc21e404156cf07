import json

from clipclean.export import provenance, statement

OUTPUTS = {"open_clip_model.safetensors": "ef" * 32, "open_clip_config.json": "56" * 32}
OTHERS = {"report.json": "9a" * 32}


def made(report):
    return statement.statement(provenance.record(report, outputs=OUTPUTS), sha256="78" * 32, others=OTHERS)


def test_the_subjects_are_the_outputs_and_the_reports_with_their_digests(report):
    found = made(report)
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert {entry["name"]: entry["digest"]["sha256"] for entry in found["subject"]} == OUTPUTS | OTHERS


def test_the_predicate_has_every_field_that_slsa_requires(report):
    """SLSA v1.0, Provenance, "Model": required are buildType, externalParameters and builder.id; both types are URIs."""
    found = made(report)
    assert found["predicateType"] == "https://slsa.dev/provenance/v1"
    definition, details = (found["predicate"][key] for key in ("buildDefinition", "runDetails"))
    assert definition["buildType"] == "urn:x-clipclean:sanitize:1"
    assert details["builder"]["id"] == "pkg:pypi/clip-sanitizer@1"
    assert definition["externalParameters"]["recipe"]["resolved"] == {"train": {"lr": 1e-5}}
    assert definition["externalParameters"]["seed"] == 3
    assert details["byproducts"] == [{"name": "provenance.json", "digest": {"sha256": "78" * 32}}]


def test_what_went_in_is_told_by_digest_and_packages_by_version(report):
    found = made(report)["predicate"]["buildDefinition"]["resolvedDependencies"]
    named = {entry["name"]: entry["digest"] for entry in found if "name" in entry}
    assert named == {"model": {"sha256": "ab" * 32}, "data": {"clipcleanPairs": "cd" * 32}}
    assert [entry["uri"] for entry in found if "uri" in entry] == [
        "pkg:pypi/open-clip-torch@3.3.0",
        "pkg:pypi/torch@2.13.0",
    ]
    assert all({"uri", "digest"} & entry.keys() for entry in found)  # a resource descriptor needs one of them


def test_an_export_states_no_recipe_and_no_time_is_told(told):
    record = provenance.record(told("hf"), outputs=OUTPUTS)
    found = json.loads(statement.text(record, sha256="78" * 32, others={}))
    parameters = found["predicate"]["buildDefinition"]["externalParameters"]
    assert parameters == {"command": "export", "model": "m.pt", "data": "clean", "formats": ["hf"]}
    assert "metadata" not in found["predicate"]["runDetails"]
    assert json.loads(statement.text(record, sha256="78" * 32, others={})) == found


def test_labels_are_parameters_and_stand_in_the_record(told):
    labelled = provenance.record(told("hf") | {"labels": {"commit": "0a1b"}}, outputs=OUTPUTS)
    assert labelled.labels == {"commit": "0a1b"}
    made = statement.statement(labelled, sha256="0" * 64, others={})
    assert made["predicate"]["buildDefinition"]["externalParameters"]["labels"] == {"commit": "0a1b"}


def test_a_record_does_not_say_where_the_model_lay(told):
    """Equal runs in two folders give equal records."""
    report = told("hf")
    moved = report | {"model": report["model"] | {"path": "somewhere/m.pt"}}
    assert provenance.record(moved, outputs=OUTPUTS) == provenance.record(report, outputs=OUTPUTS)
