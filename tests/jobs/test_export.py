import errno
import os
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import save_file

from clipclean import checkpoint, files
from clipclean.checkpoint.layouts import from_open_clip
from clipclean.errors import ResourceError, UsageError
from clipclean.export import checksums, formats, hf_directory, open_clip_directory, parity
from clipclean.jobs import export as export_job
from clipclean.jobs import verify


@pytest.fixture
def job(tmp_path):
    return tiny.job(tmp_path / "job", count=12)


def request(job, **changed):
    settings = {
        "model": job.model,
        "data": job.data,
        "own": True,
        "out": job.out,
        "arch": str(job.arch),
        "image_key": None,
        "caption_key": None,
        "force": False,
        "wanted": formats.ExportOptions(("open_clip",), "transformers.js", False, False),
    }
    return export_job.ExportRequest(**settings | changed)


def run(job, **changed):
    return export_job.convert(request(job, **changed), progress=lambda *_: None)


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


RECORDS = {"README.md", "provenance.intoto.json", "SHA256SUMS"}
WRITTEN = {"open_clip_config.json", "open_clip_model.safetensors"} | RECORDS


def test_the_record_says_what_was_read_and_what_was_written(job, unread):
    found = run(job).as_json()
    assert names(job.out) == WRITTEN
    assert found["model"]["sha256"] == files.sha256(job.model)
    assert (found["model"]["format"], found["model"]["activation"]) == ("torch-zip", "gelu")
    (entry,) = found["exports"]
    assert entry["sha256"] == files.sha256(job.out / "open_clip_model.safetensors")
    assert entry["tensor_sha256"] == found["model"]["tensor_sha256"]
    assert checkpoint.digest(checkpoint.read(job.out).tensors) == found["model"]["tensor_sha256"]
    sums = dict(line.split("  ")[::-1] for line in (job.out / "SHA256SUMS").read_text().splitlines())
    assert sums == {name: files.sha256(job.out / name) for name in WRITTEN - {"SHA256SUMS"}}
    assert found["data"]["pairs"] == 12


def test_the_records_of_earlier_versions_go_with_the_next_export(job, unread):
    run(job)
    (job.out / "provenance.json").write_text("{}")
    (job.out / "SHA256SUMS").write_text(checksums.text(job.out))
    run(job, force=True)
    assert names(job.out) == WRITTEN


def test_equal_input_gives_equal_files(job, unread):
    for name in "ab":
        run(job, out=job.folder / name)
    for name in WRITTEN:
        assert (job.folder / "a" / name).read_bytes() == (job.folder / "b" / name).read_bytes()


def test_nothing_is_left_when_a_check_fails(job, monkeypatch):
    def differs(*_, **__):
        raise parity.ExportMismatch("differs")

    monkeypatch.setattr(open_clip_directory, "check", differs)
    before = set(job.folder.iterdir())
    with pytest.raises(parity.ExportMismatch):
        run(job, out=job.folder / "deep" / "out")
    assert set(job.folder.iterdir()) == before


def test_nothing_is_left_when_the_disk_is_full(job, unread, monkeypatch):
    moved = Path.replace

    def full(self, target):
        if Path(target) == job.out or Path(target).name == "open_clip_model.safetensors":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return moved(self, target)

    monkeypatch.setattr(Path, "replace", full)
    before = set(job.folder.iterdir())
    with pytest.raises(ResourceError, match="No space left"):
        run(job)
    assert set(job.folder.iterdir()) == before


def test_a_folder_with_files_is_refused_and_force_replaces_what_an_export_left(job, unread):
    run(job)
    (job.out / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        run(job)
    run(job, force=True)
    assert names(job.out) == WRITTEN | {"mine.txt"}


def test_weights_of_the_users_own_are_not_replaced_whatever_is_asked_for(job, unread):
    job.out.mkdir()
    (job.out / "model.safetensors").write_text("years of work")
    with pytest.raises(UsageError, match=r"holds model\.safetensors: no SHA256SUMS"):
        run(job, force=True)
    assert names(job.out) == {"model.safetensors"}


def test_an_activation_that_nothing_tells_is_not_measured_on_the_bundled_images(job, unread):
    with pytest.raises(UsageError, match=r"GELU or QuickGELU.*--data"):
        run(job, arch=None, own=False)
    assert not job.out.exists()


def test_it_is_measured_on_the_users_own_pairs(job, unread):
    tiny.fit_to_pairs(tiny.job(job.folder / "fit"), quick_gelu=True)
    fit = tiny.Job(job.folder / "fit", *(job.folder / "fit" / name for name in ("model.pt", "pairs")), *job[3:])
    found = run(job, model=fit.model, data=fit.data, arch=None)
    assert found.model.activation == "quick_gelu"
    assert found.model.activation_how.startswith("measured on clean pairs")


def test_a_model_that_a_layout_has_no_place_for_is_refused_before_the_data_are_read(job, tmp_path):
    resnet = tiny.job(tmp_path / "resnet", config=tiny.TINY_RESNET, count=2)
    with pytest.raises(UsageError, match="ResNet"):
        run(resnet, data=tmp_path / "missing", wanted=formats.ExportOptions(("hf",), "transformers.js", False, False))


def test_the_pairs_come_from_all_over_the_set():
    assert export_job.some(tuple(range(5))) == [0, 1, 2, 3, 4]
    chosen = export_job.some(tuple(range(630)))
    assert (len(chosen), chosen[0], chosen[-1]) == (63, 0, 620)


# Round trips: any layout that is read, any that is written, and back.


def torch_zip(job):
    return job.model


def old_pickle(job):
    torch.save(tiny.state_dict(tiny.SMALL_VIT), job.folder / "old.pt", _use_new_zipfile_serialization=False)
    return job.folder / "old.pt"


def training_checkpoint(job):
    state = {f"module.{name}": tensor for name, tensor in tiny.state_dict(tiny.SMALL_VIT).items()}
    torch.save({"epoch": 3, "name": "x", "state_dict": state}, job.folder / "epoch_3.pt")
    return job.folder / "epoch_3.pt"


def bare_safetensors(job):
    save_file(tiny.state_dict(tiny.SMALL_VIT), job.folder / "bare.safetensors")
    return job.folder / "bare.safetensors"


def transformers_state(job):
    theirs = {name: tensor.clone() for name, tensor in from_open_clip(tiny.state_dict(tiny.SMALL_VIT)).items()}
    save_file(theirs, job.folder / "theirs.safetensors")
    return job.folder / "theirs.safetensors"


def first_export(form):
    def exported(job):
        run(job, out=job.folder / "first", wanted=only(form))
        return job.folder / "first"

    exported.__name__ = f"{form}_directory"
    return exported


def only(form):
    return formats.ExportOptions((form,))


@pytest.mark.parametrize(("way", "back"), [("open_clip", "hf"), ("hf", "open_clip")])
@pytest.mark.parametrize(
    "source",
    [
        torch_zip,
        old_pickle,
        training_checkpoint,
        bare_safetensors,
        transformers_state,
        first_export("open_clip"),
        first_export("hf"),
    ],
    ids=lambda source: source.__name__,
)
def test_a_round_trip_gives_the_same_tensor_digest(job, unread, monkeypatch, source, way, back):
    monkeypatch.setattr(hf_directory, "can_check", lambda: False)
    digest = checkpoint.digest(tiny.state_dict(tiny.SMALL_VIT))
    told = run(job, model=source(job), out=job.folder / "there", wanted=only(way))
    assert (told.model.tensor_sha256, told.exports[0].tensor_sha256) == (digest, digest)
    # the directory tells its architecture and activation itself
    told = run(job, model=job.folder / "there", out=job.folder / "back", wanted=only(back), arch=None, own=False)
    assert told.model.tensor_sha256 == told.exports[0].tensor_sha256 == digest
    read = checkpoint.read(job.folder / "back")
    assert checkpoint.digest(read.tensors) == digest
    assert verify.verify(job.folder / "back", public_key=None).exit_code == 0


def test_equal_weights_give_equal_bytes_whatever_they_were_read_from(job, unread):
    for place, source in (("a", torch_zip), ("b", bare_safetensors), ("c", old_pickle)):
        run(job, model=source(job), out=job.folder / place)
    written = {(job.folder / place / "open_clip_model.safetensors").read_bytes() for place in "abc"}
    assert len(written) == 1


def test_half_precision_keeps_its_values_and_changes_its_digest(job, unread):
    halves = {name: tensor.half() for name, tensor in tiny.state_dict(tiny.SMALL_VIT).items()}
    torch.save(halves, job.folder / "half.pt")
    told = run(job, model=job.folder / "half.pt")
    assert told.model.tensor_sha256 == checkpoint.digest(halves)
    assert told.exports[0].tensor_sha256 != checkpoint.digest(halves)
    read = checkpoint.read(job.out).tensors
    assert all(torch.equal(read[name].half(), tensor) for name, tensor in halves.items())
