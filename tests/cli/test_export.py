"""``clipclean export``: any layout that is read, in any that is written, with its records."""

import json

import pytest
import tiny
from tiny import files_in as names

from clipclean import checkpoint, files, requests
from clipclean.cli import weights as printed
from clipclean.errors import UsageError
from clipclean.export import formats, hf_directory, records
from clipclean.jobs import export as export_job
from clipclean.jobs import verify as verifying
from clipclean.schema.results import Exported

RECORDS = {"README.md", "provenance.intoto.json", "SHA256SUMS"}
WEIGHTS = "open_clip_model.safetensors"
WRITTEN = {"open_clip_config.json", WEIGHTS} | RECORDS
STATE = tiny.state_dict(tiny.SMALL_VIT)


@pytest.fixture
def job(tmp_path):
    return tiny.job(tmp_path / "job", count=12)


def run(job, **changed):
    given = {"model": job.model, "data": (job.data,), "out": job.out, "arch": job.arch and str(job.arch)}
    asked = requests.Export(**given | {"format": ("open_clip",)} | changed)
    return export_job.export(asked)


def command(job, *more, data=True):
    given = ["export", job.model, "--out", job.out, "--arch", job.arch, *(("--data", job.data) if data else ())]
    return [*map(str, [*given, *more])]


def test_the_record_agrees_with_the_files(job, said, unread):
    record = said(command(job, "--format", "open_clip", "--json", "--quiet"))
    assert names(job.out) == WRITTEN
    assert record["model"]["sha256"] == files.sha256(job.model)
    assert (record["model"]["name"], record["model"]["activation"]) == ("model.pt", "gelu")
    (entry,) = record["exports"]
    assert (entry["format"], entry["sha256"]) == ("open_clip", files.sha256(job.out / WEIGHTS))
    assert checkpoint.digest(STATE) == entry["tensor_sha256"] == record["model"]["tensor_sha256"]
    sums = dict(line.split("  ")[::-1] for line in (job.out / "SHA256SUMS").read_text().splitlines())
    assert sums == {name: files.sha256(job.out / name) for name in WRITTEN - {"SHA256SUMS"}}
    assert record["data"]["pairs"] == 12


def test_force_replaces_what_an_export_left(job, said, unread):
    run(job)
    first = {name: (job.out / name).read_bytes() for name in WRITTEN}
    (job.out / "mine.txt").write_text("mine")
    (job.out / "provenance.json").write_text("{}")  # a record of an earlier version
    (job.out / "SHA256SUMS").write_text(records.sums(job.out))
    with pytest.raises(UsageError, match="--force"):
        run(job)
    said(command(job, "--format", "open_clip", "--force"))
    assert {name: (job.out / name).read_bytes() for name in WRITTEN} == first  # equal input, equal files
    assert not (job.out / "provenance.json").exists()
    assert (job.out / "mine.txt").read_text() == "mine"


def test_force_replaces_nothing_of_the_users_own(job, unread):
    (job.folder / "own").mkdir()
    (job.folder / "own" / "model.safetensors").write_text("years of work")
    with pytest.raises(UsageError, match=r"model\.safetensors"):
        run(job, out=job.folder / "own", force=True)
    assert names(job.folder / "own") == {"model.safetensors"}


def test_an_activation_that_nothing_tells_is_measured_on_the_users_own_pairs_alone(job, unread):
    with pytest.raises(UsageError, match="--data"):
        run(job, arch=None, data=None)
    assert not job.out.exists()
    fit = tiny.job(job.folder / "fit")
    tiny.fit_to_pairs(fit, quick_gelu=True)
    assert run(job, model=fit.model, data=(fit.data,), arch=None).model.activation == "quick_gelu"
    assert json.loads((job.out / "open_clip_config.json").read_text())["model_cfg"]["quick_gelu"] is True


def test_a_model_that_a_layout_has_no_place_for_is_refused_before_the_data_are_read(job, tmp_path):
    resnet = tiny.job(tmp_path / "resnet", config=tiny.TINY_RESNET, count=2)
    with pytest.raises(UsageError, match="ResNet"):
        run(resnet, data=(tmp_path / "missing",), format=("hf",))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("--format hf --fp16", "--format onnx"),
        ("--format hf --normalize", "--format onnx"),
        ("--format onnx --onnx-preset clip-as-service", "clip-as-service"),
        ("", "--format"),
        ("--format tensorrt", "tensorrt"),
    ],
)
def test_a_wrong_command_line_is_refused(job, refused, arguments, named):
    refused(command(job, *arguments.split()), job.folder, 2, named)


def table(place, *, alike=5):
    """What is printed of an export to a place, of whose five captions so many are read alike."""
    digest = "ab" * 32
    model = {"name": "m.pt", "sha256": digest, "format": "torch-zip", "architecture": "x", "tensor_sha256": digest}
    same = {"reader": "transformers 5", "max_difference": 0.0, "min_cosine": 1.0, "top1_agreement": 1.0, "n": 10}
    parity = same | {"captions": 5, "captions_alike": alike}
    entry = {"format": "hf", "path": "x", "sha256": digest, "tensor_sha256": digest, "parity": parity}
    record = {"tool": {"name": "clipclean", "version": "1"}, "command": "export", "model": model, "exports": [entry]}
    data = {"format": "folder", "pairs": 1, "skipped": [], "digest": digest}
    return printed.export_text(Exported.model_validate(record | {"data": data, "environment": {}, "notes": []}), place)


def test_the_table_tells_captions_that_are_read_otherwise(tmp_path):
    assert "2 of 5" not in table(tmp_path)
    assert "2 of 5" in table(tmp_path, alike=3)


def test_the_table_drives_no_terminal(tmp_path):
    assert "\x1b" not in table(tmp_path / "a\x1b[2J")


@pytest.mark.parametrize(("way", "back"), [("open_clip", "hf"), ("hf", "open_clip")])
def test_a_round_trip_gives_the_same_tensor_digest(job, unread, monkeypatch, way, back):
    monkeypatch.setattr(hf_directory, "can_check", lambda: False)
    for form, place in ((way, "there"), (back, "back"), (way, "again")):
        made = run(job, out=job.folder / place, format=(form,))
        assert made.model.tensor_sha256 == made.exports[0].tensor_sha256 == checkpoint.digest(STATE)
        assert checkpoint.digest(checkpoint.read(job.folder / place).tensors) == checkpoint.digest(STATE)
        assert verifying.verify(job.folder / place, public_key=None).exit_code == 0
        # the directory tells its architecture and activation itself
        job = job._replace(model=job.folder / place, arch=None)


@pytest.mark.slow
def test_every_library_reads_its_layout_of_the_bundled_images(tmp_path, said):
    pytest.importorskip("transformers")
    job = tiny.job(tmp_path / "job", config=tiny.TINY_VIT, count=2)
    options = [word for name in formats.EXPORT_FORMATS for word in ("--format", name)]
    entries = said(command(job, "--json", *options, data=False))["exports"]
    readers = [entry["parity"]["reader"].split()[0] for entry in entries]
    assert readers == ["open_clip", "transformers", "onnxruntime", "onnxruntime"]
    assert all(entry["parity"]["n"] == 126 and entry["parity"]["max_difference"] < 1e-5 for entry in entries)
    assert not [path for path in job.folder.iterdir() if path.name.startswith(".clipclean")]
