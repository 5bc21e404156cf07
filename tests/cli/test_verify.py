"""``clipclean verify``: any change of a folder of weights is found, by whatever record still tells."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
import unprivileged

from clipclean.errors import UsageError
from clipclean.export import records
from clipclean.jobs import verify as verifying

WEIGHTS, HF, GRAPH = "open_clip_model.safetensors", "model.safetensors", "onnx/vision_model.onnx"
SUMS, STATEMENT = "SHA256SUMS", "provenance.intoto.json"


@pytest.fixture
def folder(every_format, tmp_path):
    """A folder in every layout."""
    return shutil.copytree(every_format.out, tmp_path / "folder")


@pytest.fixture
def cleaned(whole_cleaning, tmp_path):
    return shutil.copytree(whole_cleaning.out, tmp_path / "folder")


def check(folder, **more):
    return verifying.verify(folder, **{"public_key": None} | more)


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


def spoil(path, place=-2):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def resum(folder):
    """Checksums that fit what the folder holds now, as somebody who changes files can write them."""
    (folder / SUMS).write_text(records.sums(folder))


def restate(folder):
    """Digests that fit in the statement and the checksums, as somebody without a key can write them."""
    found = json.loads((folder / STATEMENT).read_text())
    digests = records.digests(folder)
    for entry in found["subject"]:
        entry["digest"]["sha256"] = digests[entry["name"]]
    (folder / STATEMENT).write_text(json.dumps(found))
    resum(folder)


def test_a_whole_folder_passes_every_check(folder, said):
    result = check(folder)
    assert (result.exit_code, result.findings) == (0, [])
    assert list(result.checked) == ["checksums", "statement", "weights"]
    assert {HF, WEIGHTS} == set(result.checked["weights"].split(", "))
    assert result.notes  # not signed
    for name in (".git/config", ".gitattributes"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    assert (check(folder).exit_code, len(check(folder).notes)) == (0, len(result.notes) + 1)  # hidden files are told
    assert str(folder) in said(["verify", folder])
    assert said(["verify", folder, "--quiet"]) == ""


@pytest.mark.parametrize("name", ["pytorch_model.bin", "modeling.py", "onnx/other.onnx", "extra\x1b[2J.bin"])
def test_a_file_that_nobody_vouches_for_is_found_by_name(folder, name, said):
    (folder / name).write_bytes(b"x")
    found = said(["verify", folder, "--json"], 1)
    assert (found["exit_code"], name in {each["file"] for each in found["findings"]}) == (1, True)
    assert "\x1b" not in said(["verify", folder], 1)
    if name.isprintable():  # no list has another
        resum(folder)
        (finding,) = check(folder).findings
        assert (finding.file, finding.check) == (STATEMENT, "statement")


def written(text):
    return lambda path: path.write_text(text)


def of_other_tensors(digest):
    """Give the weights another digest of their tensors in the statement."""

    def harm(path):
        place = [entry["name"] for entry in json.loads(path.read_text())["subject"]].index(WEIGHTS)
        edit(path, "subject", place, "digest", "clipcleanTensors", value=digest)

    return harm


def executing(path):
    torch.save({"state_dict": tiny.Command("touch ran")}, path)


NO_STATEMENT = ("{", "[]", '{"a":1,"a":2}')
OTHERS = ("config.json", "tokenizer.json", "README.md", STATEMENT)
HARM = [  # a file, what is done to it, which records are made to fit, the exit code, what is found at least
    *((name, spoil, None, 1, {(name, "checksums", "mismatch")}) for name in (WEIGHTS, HF, GRAPH, *OTHERS)),
    *(
        (name, Path.unlink, None, 1, {(name, "checksums", "mismatch"), (STATEMENT, "statement", "mismatch")})
        for name in (WEIGHTS, HF)
    ),
    (WEIGHTS, spoil, resum, 1, {(WEIGHTS, "statement", "mismatch"), (WEIGHTS, "weights", "mismatch")}),
    *((name, spoil, restate, 1, {(name, "weights", "mismatch")}) for name in (WEIGHTS, HF)),
    *((name, written("no weights"), restate, 3, {(name, "weights", "unreadable")}) for name in (WEIGHTS, HF)),
    (WEIGHTS, executing, restate, 3, {(WEIGHTS, "weights", "unreadable")}),
    (STATEMENT, Path.unlink, resum, 1, {(STATEMENT, "statement", "mismatch")}),
    (STATEMENT, of_other_tensors(None), restate, 1, {(WEIGHTS, "weights", "mismatch")}),
    (STATEMENT, of_other_tensors("0" * 64), restate, 1, {(WEIGHTS, "weights", "mismatch")}),
    *((STATEMENT, written(text), resum, 3, {(STATEMENT, "statement", "unreadable")}) for text in NO_STATEMENT),
]


@pytest.mark.parametrize(("name", "harm", "mend", "code", "found"), HARM)
def test_harm_is_found_by_whatever_record_still_tells(folder, monkeypatch, name, harm, mend, code, found):
    monkeypatch.chdir(folder.parent)
    harm(folder / name)
    if mend:
        mend(folder)
    result = check(folder)
    assert (result.exit_code, found - told(result)) == (code, set())
    assert mend is not restate or told(result) == found
    assert harm is not Path.unlink or name not in result.checked.get("weights", "").split(", ")
    assert not (folder.parent / "ran").exists()


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


@pytest.mark.parametrize("text", [None, "", "no list\n", f"{'0' * 64}  ../../etc/passwd\n"])
def test_a_folder_without_a_list_of_checksums_is_refused(folder, refused, text):
    (folder / SUMS).unlink() if text is None else (folder / SUMS).write_text(text)
    refused(["verify", str(folder)], folder, 3, SUMS)


@pytest.mark.parametrize("name", [WEIGHTS, "nowhere"])
def test_what_is_no_folder_is_refused(folder, refused, name):
    refused(["verify", str(folder / name)], folder, 3, name)


def test_what_is_no_plain_file_is_found_unopened(folder, tmp_path):
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


def test_a_sanitized_folder_passes_every_check(cleaned):
    result = check(cleaned)
    assert (told(result), "inconclusive" in result.checked["report"]) == (set(), True)


def test_the_statement_vouches_for_the_reports_of_a_sanitized_folder(cleaned):
    (cleaned / "report.html").write_text("Certified safe.")
    resum(cleaned)
    assert ("report.html", "statement", "mismatch") in told(check(cleaned))
    (cleaned / "report.json").unlink()
    resum(cleaned)
    assert "report" in {each.check for each in check(cleaned).findings if each.file == "report.json"}


@pytest.mark.parametrize(
    ("keys", "value", "key"),
    [
        (("verdict",), "pass", "clipclean_verdict"),
        (("seed",), 99, "externalParameters.seed"),
        (("recipe", "name"), "auto", "recipe.name"),
        (("model", "sha256"), "0" * 64, "resolvedDependencies"),
        (("exports",), [], "subject"),
        *(((key,), ..., None) for key in ("data", "environment", "exports", "before")),
    ],
)
def test_a_report_that_tells_other_things_than_the_statement_is_found(cleaned, keys, value, key):
    edit(cleaned / "report.json", *keys, value=value)
    restate(cleaned)
    result = check(cleaned)
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


def test_a_card_that_its_owner_wrote_on_is_whole(folder):
    card = folder / "README.md"
    assert "README.md" not in {entry["name"] for entry in json.loads((folder / STATEMENT).read_text())["subject"]}
    card.write_text(card.read_text().replace("---\n", "---\nlicense: mit\n", 1))
    assert told(check(folder)) == {("README.md", "checksums", "mismatch")}
    resum(folder)
    assert told(check(folder)) == set()


def test_a_card_that_the_statement_speaks_of_may_be_another_since(folder):
    statement = folder / STATEMENT
    stated = json.loads(statement.read_text())
    stated["subject"].append({"name": "README.md", "digest": {"sha256": "0" * 64}})  # as earlier versions did
    statement.write_text(json.dumps(stated))
    resum(folder)
    assert told(check(folder)) == set()


def test_a_signature_holds_only_as_it_was_made(folder, keys):
    options = ["--signature", str(folder / "model.sig"), "--private_key", str(keys / "ours")]
    command = [sys.executable, "-m", "model_signing", "sign", "key", str(folder), *options]  # as documented
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


def test_a_missing_or_broken_signature_is_found_where_a_key_is_given(folder, keys):
    for text in (None, "{}"):
        if text:
            (folder / "model.sig").write_text(text)
        (finding,) = check(folder, public_key=keys / "ours.pub").findings
        assert (finding.file, finding.check) == ("model.sig", "signature")


@pytest.mark.usefixtures("keys")  # skips where nothing can read one
@pytest.mark.parametrize("name", ["config.json", "missing.pub"])
def test_what_is_no_key_is_refused(folder, name):
    (folder / "model.sig").write_text("{}")
    with pytest.raises(UsageError, match=name):
        check(folder, public_key=folder / name)


def test_without_the_extra_a_key_is_refused(folder, monkeypatch):
    monkeypatch.setattr(verifying.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"\[signing\]"):
        check(folder, public_key=folder / "config.json")
