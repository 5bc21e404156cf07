import json
import os
import shutil
import subprocess
import sys

import onnx
import pytest
import tiny
import torch
import unprivileged
from report import samples

from clipclean import report
from clipclean.errors import RefusedInput, UsageError
from clipclean.export import (
    checksums,
    formats,
    hf_directory,
    onnx_files,
    onnx_presets,
    open_clip_directory,
    parity,
    records,
)
from clipclean.jobs import export as export_job
from clipclean.jobs import verify

WEIGHTS, HF, GRAPH = "open_clip_model.safetensors", "model.safetensors", "onnx/vision_model.onnx"
SUMS, STATEMENT = "SHA256SUMS", "provenance.intoto.json"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder in every layout; the graphs are small ones with the metadata of real ones."""
    job = tiny.job(tmp_path_factory.mktemp("job"), count=4)
    end = onnx.helper.make_tensor_value_info("x", 1, [1])

    def graphs(folder, net, /, *, preset, fp16, metadata, **_):
        (folder / "onnx").mkdir()
        for name in onnx_presets.names(preset, fp16=fp16):
            model = onnx.helper.make_model(onnx.helper.make_graph([], name, [end], [end]))
            onnx.helper.set_model_props(model, metadata)
            (folder / name).write_bytes(model.SerializeToString())

    def accepted(*_, **__):
        return parity.Parity(0.0, 1.0, top1_agreement=1.0, n=8, reader="nobody")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_files, "write", graphs)
        for module in (onnx_files, open_clip_directory):
            patch.setattr(module, "check", accepted)
        patch.setattr(hf_directory, "can_check", lambda: False)
        wanted = formats.ExportOptions(tuple(formats.FORMATS))
        request = export_job.ExportRequest(
            model=job.model,
            data=job.data,
            own=True,
            out=job.out,
            wanted=wanted,
            arch=str(job.arch),
            image_key=None,
            caption_key=None,
            force=False,
        )
        export_job.convert(request, progress=lambda *_: None)
    return job.out


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "folder")


def check(folder, **more):
    return verify.verify(folder, **{"public_key": None} | more)


def told(result):
    """Findings as file: check: message."""
    return [f"{each.file}: {each.check}: {each.message}" for each in result.findings]


def resum(folder):
    """Checksums that fit what the folder holds now, as somebody who changes files can write them."""
    (folder / SUMS).write_text(checksums.text(folder))


def edit(path, *keys, value):
    """Change one place of a JSON file."""
    found = inner = json.loads(path.read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(found))


def spoil(path, place=-1):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_whole_folder_passes_every_check(folder):
    result = check(folder)
    assert (result.exit_code, result.findings) == (0, [])
    assert list(result.checked) == ["checksums", "statement", "weights"]
    assert result.checked["weights"] == f"{HF}, {WEIGHTS}"
    assert result.notes == ["not signed; checksums show that a folder is whole, not who made it"]


@pytest.mark.parametrize("name", [WEIGHTS, HF, GRAPH, "config.json", "tokenizer.json", "README.md", STATEMENT])
def test_one_changed_byte_of_any_file_is_found(folder, name):
    spoil(folder / name, place=-2)
    result = check(folder)
    assert result.exit_code == 1
    assert f"{name}: checksums: has sha256 " in "\n".join(told(result))


def test_a_missing_file_is_found(folder):
    (folder / WEIGHTS).unlink()
    assert f"{WEIGHTS}: checksums: is listed in SHA256SUMS and missing" in told(check(folder))
    assert f"{STATEMENT}: statement: names '{WEIGHTS}', which is missing" in told(check(folder))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "modeling.py", "onnx/other.onnx"])
def test_a_file_that_nobody_vouches_for_is_found(folder, name):
    (folder / name).write_bytes(b"x")
    assert f"{name}: checksums: is not listed in SHA256SUMS, so nothing protects it" in told(check(folder))
    resum(folder)
    assert told(check(folder)) == [
        f"{STATEMENT}: statement: says nothing of {name}",
    ]


def test_changed_weights_are_found_though_the_checksums_fit(folder):
    spoil(folder / WEIGHTS)
    resum(folder)
    result = check(folder)
    assert result.exit_code == 1
    assert {each.check for each in result.findings} == {"statement", "weights"}
    assert {each.file for each in result.findings} == {WEIGHTS}


def restate(folder):
    """Digests that fit in the statement and the checksums, as somebody without a key can write them."""
    found = json.loads((folder / STATEMENT).read_text())
    digests = checksums.digests(folder)
    for entry in found["subject"]:
        entry["digest"]["sha256"] = digests[entry["name"]]
    (folder / STATEMENT).write_text(json.dumps(found))
    resum(folder)


@pytest.mark.parametrize("name", [WEIGHTS, HF])
def test_other_tensors_are_found_though_every_file_digest_fits(folder, name):
    spoil(folder / name)
    restate(folder)
    (finding,) = told(check(folder))
    assert finding.startswith(f"{name}: weights: its tensors have the digest ")


@pytest.mark.parametrize("name", [WEIGHTS, HF])
def test_weights_that_cannot_be_read_are_told_apart(folder, name):
    (folder / name).write_bytes(b"no weights at all")
    restate(folder)
    result = check(folder)
    assert result.exit_code == 3
    assert [(each.file, each.check, each.kind) for each in result.findings] == [(name, "weights", "unreadable")]


def test_weights_that_would_execute_something_are_refused_as_ever(folder, tmp_path):
    class Command:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"state_dict": Command()}, folder / WEIGHTS)
    restate(folder)
    assert check(folder).exit_code == 3
    assert not (tmp_path / "ran").exists()


def test_a_missing_statement_is_found(folder):
    (folder / STATEMENT).unlink()
    resum(folder)
    assert "nothing says where the weights come from" in "\n".join(told(check(folder)))
    assert check(folder).exit_code == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1, "a": 2}', "\x00"])
def test_a_statement_that_is_no_json_is_unreadable(folder, text):
    (folder / STATEMENT).write_text(text)
    resum(folder)
    result = check(folder)
    assert (STATEMENT, "unreadable") in {(each.file, each.kind) for each in result.findings}


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (["_type"], "x", "_type is 'x' and should be"),
        (["predicateType"], "x", "predicateType is 'x' and should be"),
        (["subject", 0, "digest", "sha256"], "0" * 64, f"and {STATEMENT} says {'0' * 64}"),
        (["subject", 0, "name"], "../x", "names '../x', which is missing"),
        (["subject"], [], f"says nothing of {WEIGHTS}"),
        (["subject"], [], "names no weights"),
        (["subject"], {"a": 1}, f"says nothing of {WEIGHTS}"),
        (["subject", 0], "x", "names 'None', which is missing"),
        (["predicate"], None, "its buildType is 'None'"),
        (["predicate", "buildDefinition", "buildType"], ["urn:x-clipclean:export:1"], "its buildType is"),
        (["predicate", "buildDefinition", "resolvedDependencies"], None, "does not say of which model"),
    ],
)
def test_a_statement_that_was_changed_is_found_though_the_checksums_fit(folder, keys, value, words):
    edit(folder / STATEMENT, *keys, value=value)
    resum(folder)
    result = check(folder)
    assert result.exit_code in (1, 3)
    assert words in "\n".join(told(result))


@pytest.mark.parametrize("digest", [None, "0" * 64])
def test_a_statement_of_other_tensors_is_found(folder, digest):
    found = json.loads((folder / STATEMENT).read_text())
    (entry,) = (entry for entry in found["subject"] if entry["name"] == WEIGHTS)
    entry["digest"]["clipcleanTensors"] = digest
    (folder / STATEMENT).write_text(json.dumps(found))
    resum(folder)
    (finding,) = told(check(folder))
    assert finding.startswith(f"{WEIGHTS}: weights: its tensors have the digest ")


def test_weights_that_are_missing_are_not_told_as_checked(folder):
    (folder / HF).unlink()
    assert check(folder).checked["weights"] == WEIGHTS
    (folder / WEIGHTS).unlink()
    result = check(folder)
    assert "weights" not in result.checked
    assert f"{WEIGHTS}: weights: is missing" in told(result)


@pytest.mark.parametrize("text", ["", "no list\n", f"{'0' * 64}  ../../etc/passwd\n"])
def test_a_list_that_is_none_is_refused(folder, text):
    (folder / SUMS).write_text(text)
    with pytest.raises(RefusedInput, match="SHA256SUMS"):
        check(folder)


def test_what_has_no_list_is_refused(folder, tmp_path):
    (folder / SUMS).unlink()
    name = "Name the folder that sanitize or export wrote."
    for place, why in ((folder / WEIGHTS, f"is no folder. {name}"), (tmp_path / "nowhere", f"does not exist. {name}")):
        with pytest.raises(RefusedInput) as caught:
            check(place)
        assert str(caught.value) == f"{place} {why}"
    with pytest.raises(RefusedInput, match=r"has no SHA256SUMS: nothing says what should be in it"):
        check(folder)


def test_links_and_pipes_are_found_and_not_followed_or_opened(folder, tmp_path):
    (tmp_path / "other").mkdir()
    (folder / "linked").symlink_to(tmp_path / "other")
    (folder / "broken").symlink_to(tmp_path / "gone")
    os.mkfifo(folder / "pipe")
    assert {(each.file, each.kind) for each in check(folder).findings} == {
        ("linked", "mismatch"),
        ("broken", "mismatch"),
        ("pipe", "mismatch"),
    }


def test_a_file_that_cannot_be_read_is_told_as_such(folder):
    assert check(folder).exit_code == 0  # what it imports is there for the child
    with unprivileged.folder() as place:
        shutil.copytree(folder, place / "theirs")
        (place / "theirs" / WEIGHTS).chmod(0)

        def act():
            result = check(place / "theirs")
            return result.exit_code, told(result)

        code, found = unprivileged.as_nobody(act)
    assert code == 3
    assert f"{WEIGHTS}: checksums: cannot be read: Permission denied" in found
    assert not any("missing" in each for each in found)


def test_hidden_files_are_left_out_and_said(folder):
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("x")
    (folder / ".gitattributes").write_text("x")
    result = check(folder)
    assert result.exit_code == 0
    assert result.notes[0] == "2 hidden file(s) or folder(s) were not checked"


# Sanitized folders, with reports.


@pytest.fixture(scope="module")
def cleaned(exported, tmp_path_factory):
    """What ``sanitize`` would leave of these weights; its report is one worked by hand."""
    folder = shutil.copytree(exported, tmp_path_factory.mktemp("cleaned") / "folder")
    subjects = json.loads((folder / STATEMENT).read_text())["subject"]
    for name in (STATEMENT, SUMS, "README.md"):
        (folder / name).unlink()
    files = {entry["name"]: entry["digest"] for entry in subjects if "clipcleanTensors" in entry["digest"]}
    forms = {name: form for form in formats.FORMATS for name in formats.FORMATS[form].files}
    made = report.parse(
        samples.passed()
        | {
            "exports": [
                samples.passed()["exports"][0]
                | {"format": forms[name], "path": name, "sha256": of["sha256"], "tensor_sha256": of["clipcleanTensors"]}
                for name, of in files.items()
            ]
        }
    )
    report.write(made, "html", folder / "report.html")
    report.write(made, "json", folder / "report.json")
    records.write(folder, made.as_json())
    return folder


@pytest.fixture
def sanitized(cleaned, tmp_path):
    return shutil.copytree(cleaned, tmp_path / "folder")


def test_a_sanitized_folder_passes(sanitized):
    result = check(sanitized)
    assert told(result) == []
    assert result.checked["report"] == "verdict pass"


def test_the_statement_speaks_of_the_reports(sanitized):
    (sanitized / "report.html").write_text("Certified safe.")
    resum(sanitized)
    found = told(check(sanitized))
    assert any(each.startswith("report.html: statement: has sha256 ") for each in found)
    edit(sanitized / STATEMENT, "subject", value=[])
    resum(sanitized)
    assert f"{STATEMENT}: statement: says nothing of report.html" in told(check(sanitized))


@pytest.mark.parametrize(
    ("keys", "value", "key"),
    [
        (("verdict",), "inconclusive", "predicate.runDetails.metadata.clipclean_verdict"),
        (("seed",), 99, "predicate.buildDefinition.externalParameters.seed"),
        (("recipe", "name"), "auto", "predicate.buildDefinition.externalParameters.recipe.name"),
        (("model", "sha256"), "0" * 64, "predicate.buildDefinition.resolvedDependencies"),
        (("exports",), [], "subject"),
    ],
)
def test_a_report_that_tells_other_things_than_the_statement_is_found(sanitized, keys, value, key):
    edit(sanitized / "report.json", *keys, value=value)
    restate(sanitized)
    assert f"report.json: report: tells another {key} than {STATEMENT}" in told(check(sanitized))


@pytest.mark.parametrize("key", ["data", "environment", "exports", "before"])
def test_a_report_that_lacks_what_the_statement_is_made_of_is_found(sanitized, key):
    found = json.loads((sanitized / "report.json").read_text())
    del found[key]
    (sanitized / "report.json").write_text(json.dumps(found))
    restate(sanitized)
    assert check(sanitized).exit_code in (1, 3)


# Signatures: by model-signing, an extra of the package.


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Two pairs of keys on the curve P-256, as PEM: private and public, ours and another's."""
    pytest.importorskip("model_signing")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    place, raw = tmp_path_factory.mktemp("keys"), serialization.PublicFormat.SubjectPublicKeyInfo
    for name in ("ours", "other"):
        key = ec.generate_private_key(ec.SECP256R1())
        secret = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (place / name).write_bytes(key.private_bytes(serialization.Encoding.PEM, *secret))
        (place / f"{name}.pub").write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, raw))
    return place


def sign(folder, key):
    """The documented command, without a network."""
    command = ["sign", "key", str(folder), "--signature", str(folder / "model.sig"), "--private_key", str(key)]
    done = subprocess.run([sys.executable, "-m", "model_signing", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_signature_holds_with_its_key_alone_and_for_its_files_alone(folder, keys):
    sign(folder, keys / "ours")
    assert check(folder).exit_code == 0
    assert check(folder).notes == [
        "model.sig was not checked: give the signer's key by --public-key; checksums show that a folder is whole, not who made it"
    ]
    result = check(folder, public_key=keys / "ours.pub")
    assert (result.exit_code, result.checked["signature"]) == (0, "by the key in ours.pub")
    assert result.notes == []
    (finding,) = told(check(folder, public_key=keys / "other.pub"))
    assert finding.startswith("model.sig: signature: does not hold: ")
    # every record is made to fit, and the signature still tells
    card = folder / "README.md"
    card.write_text(card.read_text().replace("---\n", "---\nlicense: mit\n", 1))
    resum(folder)
    assert check(folder).exit_code == 0
    (finding,) = told(check(folder, public_key=keys / "ours.pub"))
    assert "README.md" in finding


def test_a_missing_or_broken_signature_is_found_where_a_key_is_given(folder, keys):
    (finding,) = told(check(folder, public_key=keys / "ours.pub"))
    assert finding == "model.sig: signature: is missing, and a key was given to check it with"
    (folder / "model.sig").write_text("{}")
    (finding,) = told(check(folder, public_key=keys / "ours.pub"))
    assert "does not hold" in finding


def test_what_is_no_key_is_refused(folder, keys):
    (folder / "model.sig").write_text("{}")
    for name in ("config.json", "missing.pub"):
        with pytest.raises(UsageError, match="is not a public key"):
            check(folder, public_key=folder / name)


def test_without_the_extra_a_key_is_refused_and_not_ignored(folder, monkeypatch):
    monkeypatch.setattr(verify.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"\[signing\]"):
        check(folder, public_key=folder / "config.json")


def test_weights_behind_a_link_are_named_though_their_digest_is_right(folder, tmp_path):
    weights = folder / "open_clip_model.safetensors"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    result = check(folder)
    assert result.exit_code == 1
    assert [finding.message for finding in result.findings if finding.file == weights.name] == [
        "is a link: its target is outside the folder and can change"
    ]
