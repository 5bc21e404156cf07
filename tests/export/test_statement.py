import hashlib
import json

from clipclean.export import records

DIGESTS = {"open_clip_model.safetensors": "ef" * 32, "open_clip_config.json": "56" * 32, "report.json": "9a" * 32}


def made(report):
    return json.loads(records.statement(report, digests=DIGESTS))


def test_the_statement_has_every_field_that_slsa_requires_all_files_with_their_digests_and_no_time(report):
    found = made(report)
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert {entry["name"]: entry["digest"]["sha256"] for entry in found["subject"]} == DIGESTS
    tensors = {entry["name"]: entry["digest"].get("clipcleanTensors") for entry in found["subject"]}
    assert tensors == dict.fromkeys(DIGESTS) | {"open_clip_model.safetensors": "e2" * 32}
    # Equal runs in two folders give equal statements, but for their reports.
    moved = {"model": report["model"] | {"path": "somewhere/m.pt"}, "training": report["training"] | {"seconds": 9.0}}
    assert made(report | moved) == found
    assert found["predicateType"] == "https://slsa.dev/provenance/v1"
    definition, details = (found["predicate"][key] for key in ("buildDefinition", "runDetails"))
    assert definition["buildType"] == "urn:x-clipclean:sanitize:2"
    assert details["builder"]["id"] == "pkg:pypi/clip-sanitizer@0.1.0"
    assert details["metadata"] == {"clipclean_verdict": "pass"}
    assert definition["externalParameters"]["recipe"]["resolved"] == report["recipe"]["resolved"]
    assert definition["externalParameters"]["seed"] == 0
    found = definition["resolvedDependencies"]
    named = {entry["name"]: entry["digest"] for entry in found if "name" in entry}
    model = {"sha256": "a3" * 32, "clipcleanTensors": "0b" * 32}
    assert named == {"model": model, "data": {"clipcleanPairs": "77" * 32}}
    packages = [entry["uri"] for entry in found if "uri" in entry]
    assert packages == ["pkg:pypi/open-clip-torch@3.3.0", "pkg:pypi/torch@2.13.0"]
    assert all({"uri", "digest"} & entry.keys() for entry in found)  # a resource descriptor needs one of them


def test_an_export_states_no_recipe_and_no_time_and_what_is_no_number_is_null(told, report):
    found = made(told("hf"))
    parameters = found["predicate"]["buildDefinition"]["externalParameters"]
    assert parameters == {"command": "export", "model": "tiny-backdoored.pt", "data": "clean", "formats": ["hf"]}
    assert "metadata" not in found["predicate"]["runDetails"]
    found = made(told("hf") | {"labels": {"commit": "0a1b"}})
    assert found["predicate"]["buildDefinition"]["externalParameters"]["labels"] == {"commit": "0a1b"}
    strange = report | {"recipe": {"resolved": {"x": float("nan")}}}
    told = made(strange)["predicate"]["buildDefinition"]["externalParameters"]
    assert told["recipe"]["resolved"] == {"x": None}


def test_checksums_are_those_of_sha256sum_sorted_by_name(tmp_path):
    for name in ("b", "a", "SHA256SUMS"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "c").write_text("c")
    digests = [hashlib.sha256(name.encode()).hexdigest() for name in "abc"]
    listed = records.sums(tmp_path)
    assert listed == f"{digests[0]}  a\n{digests[1]}  b\n{digests[2]}  folder/c\n"
    assert records.parse(listed.encode()) == dict(zip(("a", "b", "folder/c"), digests, strict=True))
