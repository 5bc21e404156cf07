"""``clipclean verify``: any change of a folder of weights is found, by whatever record still tells."""

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

from clipclean import cli, report
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

    paths = {"model": job.model, "data": job.data, "out": job.out, "arch": str(job.arch)}
    more = {"own": True, "image_key": None, "caption_key": None, "force": False}
    request = export_job.ExportRequest(wanted=formats.ExportOptions(tuple(formats.FORMATS)), **paths, **more)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_files, "write", graphs)
        for module in (onnx_files, open_clip_directory):
            patch.setattr(module, "check", accepted)
        patch.setattr(hf_directory, "can_check", lambda: False)
        export_job.convert(request, progress=lambda *_: None)
    return job.out


@pytest.fixture(scope="module")
def cleaned(exported, tmp_path_factory):
    """What ``sanitize`` would leave of these weights; its report is one worked by hand."""
    folder = shutil.copytree(exported, tmp_path_factory.mktemp("cleaned") / "folder")
    subjects = json.loads((folder / STATEMENT).read_text())["subject"]
    for name in (STATEMENT, SUMS, "README.md"):
        (folder / name).unlink()
    files = {entry["name"]: entry["digest"] for entry in subjects if "clipcleanTensors" in entry["digest"]}
    forms = {name: form for form in formats.FORMATS for name in formats.FORMATS[form].files}
    passed = samples.passed()
    entries = [
        {"format": forms[name], "path": name, "sha256": of["sha256"], "tensor_sha256": of["clipcleanTensors"]}
        for name, of in files.items()
    ]
    made = report.parse(passed | {"exports": [passed["exports"][0] | entry for entry in entries]})
    report.write(made, "html", folder / "report.html")
    report.write(made, "json", folder / "report.json")
    records.write(folder, made.as_json())
    return folder


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "folder")


@pytest.fixture
def sanitized(cleaned, tmp_path):
    return shutil.copytree(cleaned, tmp_path / "folder")


def check(folder, **more):
    return verify.verify(folder, **{"public_key": None} | more)


def told(result):
    """What was found: file, check, kind."""
    return {(each.file, each.check, each.kind) for each in result.findings}


def edit(path, *keys, value):
    """Change one place of a JSON file, or delete it."""
    found = inner = json.loads(path.read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    if value is ...:
        del inner[keys[-1]]
    path.write_text(json.dumps(found))


def spoil(path, place=-1):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def resum(folder):
    """Checksums that fit what the folder holds now, as somebody who changes files can write them."""
    (folder / SUMS).write_text(checksums.text(folder))


def restate(folder):
    """Digests that fit in the statement and the checksums, as somebody without a key can write them."""
    found = json.loads((folder / STATEMENT).read_text())
    digests = checksums.digests(folder)
    for entry in found["subject"]:
        entry["digest"]["sha256"] = digests[entry["name"]]
    (folder / STATEMENT).write_text(json.dumps(found))
    resum(folder)


def test_a_whole_folder_passes_every_check(folder, capsys):
    result = check(folder)
    assert (result.exit_code, result.findings) == (0, [])
    assert list(result.checked) == ["checksums", "statement", "weights"]
    assert {HF, WEIGHTS} == set(result.checked["weights"].split(", "))
    assert result.notes  # not signed
    for name in (".git/config", ".gitattributes"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    assert (check(folder).exit_code, len(check(folder).notes)) == (0, len(result.notes) + 1)  # hidden files are told
    assert cli.main(["verify", str(folder)]) == 0
    assert str(folder) in capsys.readouterr().out
    assert cli.main(["verify", str(folder), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", [WEIGHTS, HF, GRAPH, "config.json", "tokenizer.json", "README.md", STATEMENT])
def test_one_changed_byte_of_any_file_is_found(folder, name):
    spoil(folder / name, place=-2)
    result = check(folder)
    assert result.exit_code == 1
    assert (name, "checksums", "mismatch") in told(result)


@pytest.mark.parametrize("name", [WEIGHTS, HF])
def test_a_missing_file_is_found_and_not_told_as_checked(folder, name):
    (folder / name).unlink()
    result = check(folder)
    assert result.exit_code == 1
    assert {each.file for each in result.findings} >= {name, STATEMENT}
    assert name not in result.checked.get("weights", "").split(", ")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "modeling.py", "onnx/other.onnx", "extra\x1b[2J.bin"])
def test_a_file_that_nobody_vouches_for_is_found_by_name(folder, name, capsys):
    (folder / name).write_bytes(b"x")
    assert cli.main(["verify", str(folder), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["exit_code"], name in {each["file"] for each in found["findings"]}) == (1, True)
    assert cli.main(["verify", str(folder)]) == 1
    assert "\x1b" not in capsys.readouterr().out
    if name.isprintable():  # no list has another
        resum(folder)
        (finding,) = check(folder).findings
        assert (finding.file, finding.check) == (STATEMENT, "statement")


def test_changed_weights_are_found_though_the_checksums_fit(folder):
    spoil(folder / WEIGHTS)
    resum(folder)
    result = check(folder)
    assert result.exit_code == 1
    assert {(each.file, each.check) for each in result.findings} == {(WEIGHTS, "statement"), (WEIGHTS, "weights")}


@pytest.mark.parametrize("name", [WEIGHTS, HF])
def test_other_tensors_are_found_though_every_file_digest_fits(folder, name):
    spoil(folder / name)
    restate(folder)
    assert told(check(folder)) == {(name, "weights", "mismatch")}


@pytest.mark.parametrize("name", [WEIGHTS, HF])
def test_weights_that_cannot_be_read_are_told_apart(folder, name):
    (folder / name).write_bytes(b"no weights at all")
    restate(folder)
    result = check(folder)
    assert (result.exit_code, told(result)) == (3, {(name, "weights", "unreadable")})


def test_weights_that_would_execute_something_are_refused_as_ever(folder, tmp_path):
    class Command:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"state_dict": Command()}, folder / WEIGHTS)
    restate(folder)
    assert check(folder).exit_code == 3
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("text", "kind"), [(None, "mismatch"), *((t, "unreadable") for t in ("{", "[]", '{"a":1,"a":2}'))]
)
def test_a_statement_that_is_missing_or_none_is_found(folder, text, kind):
    (folder / STATEMENT).unlink() if text is None else (folder / STATEMENT).write_text(text)
    resum(folder)
    assert (STATEMENT, "statement", kind) in told(check(folder))


@pytest.mark.parametrize(
    ("keys", "value", "named"),
    [
        (["_type"], "x", "_type"),
        (["predicateType"], "x", "predicateType"),
        (["subject", 0, "digest", "sha256"], "0" * 64, "0" * 64),
        (["subject", 0, "name"], "../x", "../x"),
        (["subject"], [], WEIGHTS),
        (["subject"], {"a": 1}, WEIGHTS),
        (["subject", 0], "x", "None"),
        (["predicate"], None, "buildType"),
        (["predicate", "buildDefinition", "buildType"], ["urn:x-clipclean:export:1"], "buildType"),
        (["predicate", "buildDefinition", "resolvedDependencies"], None, STATEMENT),
    ],
)
def test_a_statement_that_was_changed_is_found_though_the_checksums_fit(folder, keys, value, named):
    edit(folder / STATEMENT, *keys, value=value)
    resum(folder)
    result = check(folder)
    assert result.exit_code in (1, 3)
    assert named in "\n".join(f"{each.file} {each.message}" for each in result.findings)


@pytest.mark.parametrize("digest", [None, "0" * 64])
def test_a_statement_of_other_tensors_is_found(folder, digest):
    place = [entry["name"] for entry in json.loads((folder / STATEMENT).read_text())["subject"]].index(WEIGHTS)
    edit(folder / STATEMENT, "subject", place, "digest", "clipcleanTensors", value=digest)
    resum(folder)
    assert told(check(folder)) == {(WEIGHTS, "weights", "mismatch")}


@pytest.mark.parametrize("text", [None, "", "no list\n", f"{'0' * 64}  ../../etc/passwd\n"])
def test_a_folder_without_a_list_of_checksums_is_refused(folder, capsys, text):
    (folder / SUMS).unlink() if text is None else (folder / SUMS).write_text(text)
    assert cli.main(["verify", str(folder)]) == 3
    captured = capsys.readouterr()
    assert (captured.out, SUMS in captured.err) == ("", True)


@pytest.mark.parametrize("name", [f"folder/{WEIGHTS}", "nowhere"])
def test_what_is_no_folder_is_refused(folder, tmp_path, name):
    with pytest.raises(RefusedInput, match=name):
        check(tmp_path / name)


def test_links_and_pipes_are_found_and_not_followed_or_opened(folder, tmp_path):
    (tmp_path / "other").mkdir()
    (folder / "linked").symlink_to(tmp_path / "other")
    (folder / "broken").symlink_to(tmp_path / "gone")
    os.mkfifo(folder / "pipe")
    (folder / WEIGHTS).rename(tmp_path / "elsewhere")
    (folder / WEIGHTS).symlink_to(tmp_path / "elsewhere")  # its digest is right, and can change
    result = check(folder)
    assert result.exit_code == 1
    assert {each.file for each in result.findings if each.kind == "mismatch"} == {"linked", "broken", "pipe", WEIGHTS}


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
    assert (WEIGHTS, "checksums", "unreadable") in found


# Sanitized folders, with reports.


def test_a_sanitized_folder_passes_and_the_statement_speaks_of_its_reports(sanitized):
    result = check(sanitized)
    assert (told(result), "pass" in result.checked["report"]) == (set(), True)
    (sanitized / "report.html").write_text("Certified safe.")
    resum(sanitized)
    assert ("report.html", "statement", "mismatch") in told(check(sanitized))


@pytest.mark.parametrize(
    ("keys", "value", "key"),
    [
        (("verdict",), "inconclusive", "clipclean_verdict"),
        (("seed",), 99, "externalParameters.seed"),
        (("recipe", "name"), "auto", "recipe.name"),
        (("model", "sha256"), "0" * 64, "resolvedDependencies"),
        (("exports",), [], "subject"),
        *(((key,), ..., None) for key in ("data", "environment", "exports", "before")),
    ],
)
def test_a_report_that_tells_other_things_than_the_statement_is_found(sanitized, keys, value, key):
    edit(sanitized / "report.json", *keys, value=value)
    restate(sanitized)
    result = check(sanitized)
    assert result.exit_code in (1, 3)
    if key:
        assert key in "\n".join(each.message for each in result.findings if each.check == "report")


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


def test_a_signature_holds_with_its_key_alone_and_for_its_files_alone(folder, keys):
    given = ["--signature", str(folder / "model.sig"), "--private_key", str(keys / "ours")]
    command = [sys.executable, "-m", "model_signing", "sign", "key", str(folder), *given]  # as documented
    subprocess.run(command, check=True, capture_output=True)
    assert check(folder).exit_code == 0
    assert "model.sig" in check(folder).notes[0]
    result = check(folder, public_key=keys / "ours.pub")
    assert (result.exit_code, "ours.pub" in result.checked["signature"], result.notes) == (0, True, [])
    assert told(check(folder, public_key=keys / "other.pub")) == {("model.sig", "signature", "mismatch")}
    # every record is made to fit, and the signature still tells
    card = folder / "README.md"
    card.write_text(card.read_text().replace("---\n", "---\nlicense: mit\n", 1))
    resum(folder)
    assert check(folder).exit_code == 0
    (finding,) = check(folder, public_key=keys / "ours.pub").findings
    assert (finding.check, "README.md" in finding.message) == ("signature", True)


def test_a_missing_or_broken_signature_is_found_where_a_key_is_given_and_what_is_no_key_refused(folder, keys):
    for text in (None, "{}"):
        if text:
            (folder / "model.sig").write_text(text)
        (finding,) = check(folder, public_key=keys / "ours.pub").findings
        assert (finding.file, finding.check) == ("model.sig", "signature")
    for name in ("config.json", "missing.pub"):
        with pytest.raises(UsageError, match=name):
            check(folder, public_key=folder / name)


def test_without_the_extra_a_key_is_refused_and_not_ignored(folder, monkeypatch):
    monkeypatch.setattr(verify.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"\[signing\]"):
        check(folder, public_key=folder / "config.json")
