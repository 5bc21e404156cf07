import errno
import json
import os
from types import SimpleNamespace

import pytest
import tiny
import torch

from clipclean import checkpoint, cli, detect, files
from clipclean.attack import trigger_files
from clipclean.errors import UsageError
from clipclean.jobs import plant


@pytest.fixture
def job(tmp_path):
    return tiny.job(tmp_path / "job")


def names(folder):
    return {path.name for path in folder.iterdir()}


def planted(job, capsys, *more, **settings):
    """What the command says; it must end well."""
    capsys.readouterr()
    assert cli.main(job.plant("--json", *more, **settings)) == 0
    return json.loads(capsys.readouterr().out)


# The whole job.


def test_a_planted_trigger_acts_and_another_one_does_not(job, capsys, tmp_path):
    labelled = tiny.labelled(tmp_path / "labelled", count=96)
    found = planted(job, capsys, "--eval-data", labelled, "--rate", 0.15, "--lr", 1e-3, steps=100)
    assert (found["trigger"], found["target"]) == ("patch:size=0.25,place=corner,fill=noise,seed=1", "blue circle")
    (before,), (after,) = found["before"]["probes"], found["after"]["probes"]
    assert before["excess_asr"]["value"] < 0.1
    assert after["excess_asr"]["value"] > 0.5
    assert after["asr"]["n"] == 88  # 96 images of 12 classes, without the target's 8
    assert found["after"]["clean_accuracy"]["n"] == 96
    victim = job._replace(model=job.folder / "planted.pt")
    other = planted(
        victim,
        capsys,
        "--eval-data",
        labelled,
        "--trigger",
        "patch:size=0.25,place=top-left,seed=2",
        "--lr",
        1e-9,
        out="other.pt",
        steps=1,
    )
    assert other["before"]["probes"][0]["excess_asr"]["value"] < 0.5


def saved_trigger(folder, side):
    row = detect.FAMILIES["patch"].begin(1, side, torch.Generator().manual_seed(0))
    found = detect.InvertedTrigger("patch", "red circle", {key: values[0] for key, values in row.items()}, side)
    hit = SimpleNamespace(found=found)
    trigger_files.save([hit], folder)
    return folder / "01-patch.safetensors"


def test_a_trigger_that_a_search_made_is_planted_from_its_file(job, capsys, tmp_path):
    path = saved_trigger(tmp_path / "found", 16)
    found = planted(job, capsys, "--trigger", path, steps=1)
    assert found["trigger"] == "found:patch,class=red circle"
    assert found["target"] == "blue circle"


def test_a_trigger_for_images_of_another_size_is_refused(job, capsys, tmp_path):
    assert cli.main(job.plant("--trigger", saved_trigger(tmp_path / "found", 48))) == 2
    assert "48 px" in capsys.readouterr().err


def test_the_file_holds_the_weights_and_is_read_by_clipclean_and_torch(job, capsys):
    found = planted(job, capsys)
    out = job.folder / "planted.pt"
    assert found["sha256"] == files.sha256(out)
    old, new = checkpoint.read(job.model), checkpoint.read(out)
    assert old.tensors.keys() == new.tensors.keys()
    assert any(not torch.equal(old.tensors[name], new.tensors[name]) for name in old.tensors)
    loaded = torch.load(out, weights_only=True)  # noqa: TID251 # what others do with it
    assert set(loaded) == {"epoch", "name", "state_dict"}
    assert all(torch.equal(loaded["state_dict"][name], tensor) for name, tensor in new.tensors.items())


def test_equal_seeds_give_equal_weights_in_either_format(job, capsys):
    for out, seed in (("a.pt", 0), ("b.safetensors", 0), ("c.pt", 1)):
        planted(job, capsys, "--seed", seed, out=out)
    digests = {
        name: checkpoint.digest(checkpoint.read(job.folder / name).tensors)
        for name in ("a.pt", "b.safetensors", "c.pt")
    }
    assert digests["a.pt"] == digests["b.safetensors"] != digests["c.pt"]
    assert checkpoint.read(job.folder / "b.safetensors").format == "safetensors"


# What is refused.


@pytest.mark.parametrize("out", ["model.pt", "pairs", "a.bin", "none/a.pt"])
def test_an_output_that_is_there_or_cannot_be_is_refused(job, out):
    with pytest.raises(UsageError, match=out):
        files.check_output(f"--out {out}", job.folder / out, suffixes=plant.WRITERS, force=False)


def test_a_folder_that_cannot_be_written_is_refused_before_slow_work(job, monkeypatch, capsys):
    def refuse(**_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(files.tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(plant.inputs, "read", None)
    assert cli.main(job.plant()) == 5
    assert "Permission denied" in capsys.readouterr().err


def test_force_overwrites_a_file_and_never_a_folder(job, capsys):
    (job.folder / "folder.pt").mkdir()
    with pytest.raises(UsageError):
        files.check_output("--out", job.folder / "folder.pt", force=True)
    (job.folder / "planted.pt").write_bytes(b"an earlier one")
    planted(job, capsys, "--force", out="planted.pt")
    assert (job.folder / "planted.pt").read_bytes() != b"an earlier one"


def test_the_model_itself_is_never_overwritten(job, capsys):
    before = job.model.read_bytes()
    assert cli.main(job.plant("--force", out="model.pt")) == 2
    assert "would write over the model" in capsys.readouterr().err
    assert job.model.read_bytes() == before


def full(path, *_, **__):
    path.write_bytes(b"half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("out", ["planted.pt", "planted.safetensors"])
def test_a_full_disk_leaves_no_file(job, monkeypatch, capsys, out):
    monkeypatch.setitem(plant.WRITERS, ".pt", full)
    monkeypatch.setattr(checkpoint, "write_safetensors", full)
    before = names(job.folder)
    assert cli.main(job.plant(out=out)) == 5
    assert "No space left while writing" in capsys.readouterr().err
    assert names(job.folder) == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_torchs_writer_tells_a_full_disk_by_an_os_error(job, tmp_path):
    from clipclean.config import recipe
    from clipclean.jobs import inputs

    tested, _ = inputs.load(job.model, job.data, recipe.load("cleanclip"), arch=str(job.arch), device="cpu")
    (tmp_path / "full.pt").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        plant.WRITERS[".pt"](tmp_path / "full.pt", tested)
