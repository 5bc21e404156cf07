import errno
import os
from pathlib import Path

import pytest
import tiny

from clipclean import checkpoint, convert, export, files, layouts
from clipclean.errors import RefusedInput, ResourceError, UsageError


@pytest.fixture
def job(tmp_path):
    return tiny.job(tmp_path / "job", count=12)


def request(job, **changed):
    settings = {
        "model": job.model, "data": job.data, "own": True, "out": job.out, "arch": str(job.arch), "image_key": None,
        "caption_key": None, "force": False, "wanted": layouts.Wanted(("open_clip",), "transformers.js", False, False),
    }  # fmt: skip
    return convert.Request(**settings | changed)


def run(job, **changed):
    return convert.convert(request(job, **changed), progress=lambda *_: None)


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


WRITTEN = {"open_clip_config.json", "open_clip_model.safetensors", "SHA256SUMS"}


def test_the_record_says_what_was_read_and_what_was_written(job, unread):
    found = run(job)
    assert names(job.out) == WRITTEN
    assert found["model"]["sha256"] == files.sha256(job.model)
    assert (found["model"]["format"], found["model"]["activation"]) == ("torch-zip", "gelu")
    (entry,) = found["exports"]
    assert entry["sha256"] == files.sha256(job.out / "open_clip_model.safetensors")
    assert entry["tensor_sha256"] == found["model"]["tensor_sha256"]
    assert checkpoint.digest(checkpoint.read(job.out).tensors) == found["model"]["tensor_sha256"]
    sums = dict(line.split("  ")[::-1] for line in (job.out / "SHA256SUMS").read_text().splitlines())
    assert sums == {name: files.sha256(job.out / name) for name in WRITTEN - {"SHA256SUMS"}}


def test_equal_input_gives_equal_files(job, unread):
    for name in "ab":
        run(job, out=job.folder / name)
    for name in WRITTEN:
        assert (job.folder / "a" / name).read_bytes() == (job.folder / "b" / name).read_bytes()


def test_nothing_is_left_when_a_check_fails(job, monkeypatch):
    def differs(*_, **__):
        raise export.ExportMismatch("differs")

    monkeypatch.setattr(export, "check_open_clip", differs)
    before = set(job.folder.iterdir())
    with pytest.raises(export.ExportMismatch):
        run(job, out=job.folder / "deep" / "out")
    assert set(job.folder.iterdir()) == before


def test_nothing_is_left_when_the_disk_is_full(job, unread, monkeypatch):
    moved = Path.replace

    def full(self, target):
        if Path(target).name == "open_clip_model.safetensors":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return moved(self, target)

    monkeypatch.setattr(Path, "replace", full)
    before = set(job.folder.iterdir())
    with pytest.raises(ResourceError, match="No space left"):
        run(job)
    assert set(job.folder.iterdir()) == before


def test_a_folder_with_files_is_refused_and_force_replaces_what_layouts_left(job, unread):
    job.out.mkdir()
    (job.out / "mine.txt").write_text("mine")
    (job.out / "model.safetensors").write_text("of another run")
    with pytest.raises(UsageError, match="--force"):
        run(job)
    run(job, force=True)
    assert names(job.out) == WRITTEN | {"mine.txt"}


def test_an_activation_that_nothing_tells_is_not_measured_on_the_bundled_pictures(job, unread):
    with pytest.raises(UsageError, match=r"GELU or QuickGELU.*--data"):
        run(job, arch=None, own=False)
    assert not job.out.exists()


def test_it_is_measured_on_the_users_own_pairs(job, unread):
    tiny.fit_to_pairs(tiny.job(job.folder / "fit"), quick_gelu=True)
    fit = tiny.Job(job.folder / "fit", *(job.folder / "fit" / name for name in ("model.pt", "pairs")), *job[3:])
    found = run(job, model=fit.model, data=fit.data, arch=None)
    assert found["model"]["activation"] == "quick_gelu"
    assert found["model"]["activation_how"].startswith("measured on clean pairs")


def test_a_model_that_a_layout_has_no_place_for_is_refused_before_the_data_are_read(job, tmp_path):
    resnet = tiny.job(tmp_path / "resnet", config=tiny.TINY_RESNET, count=2)
    with pytest.raises(RefusedInput, match="ResNet"):
        run(resnet, data=tmp_path / "missing", wanted=layouts.Wanted(("hf",), "transformers.js", False, False))


def test_the_pairs_come_from_all_over_the_set():
    assert convert.some(tuple(range(5))) == [0, 1, 2, 3, 4]
    chosen = convert.some(tuple(range(630)))
    assert (len(chosen), chosen[0], chosen[-1]) == (63, 0, 620)
