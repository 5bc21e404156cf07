import hashlib
import json

from clipclean.export import records

DIGESTS = {"open_clip_model.safetensors": "ef" * 32, "open_clip_config.json": "56" * 32, "report.json": "9a" * 32}


def made(report):
    return json.loads(records.statement(report, digests=DIGESTS))


def test_a_statement_names_all_files_with_their_digests(report):
    subject = made(report)["subject"]
    assert {entry["name"]: entry["digest"]["sha256"] for entry in subject} == DIGESTS
    tensors = {entry["name"]: entry["digest"].get("clipcleanTensors") for entry in subject}
    assert tensors == dict.fromkeys(DIGESTS) | {"open_clip_model.safetensors": "e2" * 32}


def test_equal_runs_make_equal_statements(report):
    """In two folders, and whatever time they took; but for their reports."""
    moved = {"model": report["model"] | {"path": "somewhere/m.pt"}, "training": report["training"] | {"seconds": 9.0}}
    assert made(report | moved) == made(report)


def test_a_statement_has_every_field_that_slsa_requires(report):
    statement = made(report)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    definition, details = (statement["predicate"][key] for key in ("buildDefinition", "runDetails"))
    assert definition["buildType"] == "urn:x-clipclean:sanitize:2"
    assert details["builder"]["id"] == "pkg:pypi/clip-sanitizer@0.1.0"
    assert details["metadata"] == {"clipclean_verdict": "pass"}
    assert definition["externalParameters"]["recipe"]["resolved"] == report["recipe"]["resolved"]
    assert definition["externalParameters"]["seed"] == 0


def test_a_statement_names_what_the_run_depended_on(report):
    dependencies = made(report)["predicate"]["buildDefinition"]["resolvedDependencies"]
    named = {entry["name"]: entry["digest"] for entry in dependencies if "name" in entry}
    model = {"sha256": "a3" * 32, "clipcleanTensors": "0b" * 32}
    assert named == {"model": model, "data": {"clipcleanPairs": "77" * 32}}
    packages = [entry["uri"] for entry in dependencies if "uri" in entry]
    assert packages == ["pkg:pypi/open-clip-torch@3.3.0", "pkg:pypi/torch@2.13.0"]
    assert all({"uri", "digest"} & entry.keys() for entry in dependencies)  # a resource descriptor needs one of them


def parameters(report):
    """What the statement of a report says that its run was asked for."""
    return made(report)["predicate"]["buildDefinition"]["externalParameters"]


def test_an_export_states_what_was_converted_alone(told):
    """No recipe, no verdict and no time."""
    record = told("hf")
    expected = {"command": "export", "model": "tiny-backdoored.pt", "data": "clean", "formats": ["hf"]}
    assert parameters(record) == expected
    assert "metadata" not in made(record)["predicate"]["runDetails"]


def test_an_export_states_its_labels(told):
    assert parameters(told("hf") | {"labels": {"commit": "0a1b"}})["labels"] == {"commit": "0a1b"}


def test_what_is_no_number_is_stated_as_null(report):
    strange = report | {"recipe": {"resolved": {"x": float("nan")}}}
    assert parameters(strange)["recipe"]["resolved"] == {"x": None}


def test_checksums_are_those_of_sha256sum_sorted_by_name(tmp_path):
    for name in ("b", "a", "SHA256SUMS"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "c").write_text("c")
    digests = [hashlib.sha256(name.encode()).hexdigest() for name in "abc"]
    listed = records.sums(tmp_path)
    assert listed == f"{digests[0]}  a\n{digests[1]}  b\n{digests[2]}  folder/c\n"
    assert records.parse(listed.encode()) == dict(zip(("a", "b", "folder/c"), digests, strict=True))
