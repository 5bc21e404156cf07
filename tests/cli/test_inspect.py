import json
import os

import numpy as np
import pytest
import tiny
import torch

from clipclean import checkpoint, cli, files, model
from clipclean.export import open_clip_directory


@pytest.fixture
def job(tmp_path):
    return tiny.job(tmp_path / "job")


def told(capsys, *arguments):
    """Exit code, stdout, stderr."""
    code = cli.main(["inspect", *map(str, arguments)])
    return code, *capsys.readouterr()


def facts(capsys, *arguments):
    code, out, err = told(capsys, "--json", *arguments)
    assert (code, err) == (0, "")
    return json.loads(out)


def test_the_facts_are_those_of_the_file(job, capsys):
    found = facts(capsys, job.model)
    weights = tiny.state_dict(tiny.SMALL_VIT)
    elements = sum(tensor.numel() for tensor in weights.values())
    assert found["name"] == "model.pt"
    assert (found["format"], found["producer"]) == ("torch-zip", "bare state dict")
    assert (found["size"], found["sha256"]) == (job.model.stat().st_size, files.sha256(job.model))
    assert found["tensor_sha256"] == checkpoint.digest(weights)
    assert found["tensors"] == {
        "tensors": len(weights),
        "elements": elements,
        "bytes": 4 * elements,
        "dtypes": {"float32": {"tensors": len(weights), "elements": elements, "bytes": 4 * elements}},
    }
    assert found["architecture"] == {
        "name": "ViT-1x64-8-16px",
        "how": "OpenAI's shape rules (no built-in config fits)",
    }
    assert found["preprocess"]["size"] == 16
    assert found["config"] is None
    assert found["notes"] == []


def test_an_activation_that_the_file_does_not_tell_is_undecided_and_says_what_to_do(job, capsys):
    assert facts(capsys, job.model)["activation"]["name"] is None
    code, out, _ = told(capsys, job.model)
    assert code == 0
    assert "activation     undecided: pass --arch NAME" in out


def test_what_the_user_says_decides(job, capsys):
    tiny.written(job.arch, json.dumps(tiny.SMALL_VIT | {"quick_gelu": True}))
    found = facts(capsys, job.model, "--arch", job.arch)
    assert found["architecture"] == {"name": "arch", "how": "--arch arch.json"}
    assert found["activation"] == {"name": "quick_gelu", "how": "quick_gelu in --arch arch.json"}


def test_the_same_weights_have_one_tensor_digest_in_every_container(job, capsys):
    weights = tiny.state_dict(tiny.SMALL_VIT)
    checkpoint.write_safetensors(job.folder / "a.safetensors", weights, metadata={})
    torch.save(
        {"epoch": 1, "name": "x", "state_dict": {f"module.{k}": t for k, t in weights.items()}}, job.folder / "b.pt"
    )
    torch.save(weights, job.folder / "c.pt", _use_new_zipfile_serialization=False)
    found = [facts(capsys, job.folder / name) for name in ("model.pt", "a.safetensors", "b.pt", "c.pt")]
    assert len({each["tensor_sha256"] for each in found}) == 1
    assert len({each["sha256"] for each in found}) == 4
    assert [each["format"] for each in found] == ["torch-zip", "safetensors", "torch-zip", "torch-legacy"]


def test_a_config_beside_the_weights_is_found_and_decides(job, capsys):
    folder = job.folder / "open_clip"
    folder.mkdir()
    open_clip_directory.write(
        folder,
        tiny.state_dict(tiny.SMALL_VIT),
        model_cfg=tiny.SMALL_VIT | {"quick_gelu": True},
        preprocess_cfg={"size": 16, "resize_mode": "squash"},
    )
    found = facts(capsys, folder)
    assert (found["format"], found["config"]) == ("open_clip-directory", "open_clip_config.json")
    assert found["activation"]["name"] == "quick_gelu"
    assert found["preprocess"]["resize_mode"] == "squash"


def test_what_was_left_out_is_noted(job, capsys):
    state = {
        "epoch": np.int64(3),
        "name": "x",
        "state_dict": tiny.state_dict(tiny.SMALL_VIT),
        "optimizer": {"state": {}},
    }
    torch.save(state, job.model)
    assert any("optimizer" in note for note in facts(capsys, job.model)["notes"])
    assert "note           skipped 'optimizer': optimizer state" in told(capsys, job.model)[1]


def test_shapes_that_fit_several_architectures_are_undecided(job, capsys, monkeypatch):
    names = dict.fromkeys(("Tiny-A", "Tiny-B"), tiny.SMALL_VIT)
    monkeypatch.setattr(model.architecture, "native_configs", lambda: names)
    found = facts(capsys, job.model)
    assert found["architecture"]["name"] is None
    assert "Tiny-A, Tiny-B equally well. Say which by --arch" in found["architecture"]["how"]
    assert found["sha256"] == files.sha256(job.model)
    assert "architecture   The shapes fit" in told(capsys, job.model)[1]


def test_nothing_is_computed_with_the_weights(job, capsys, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "forward", None)
    monkeypatch.setattr(model.Clip, "embed_images", None)
    assert facts(capsys, job.model)["format"] == "torch-zip"


class Command:
    """What pickle would run."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_file_that_would_run_a_command_is_refused_and_nothing_runs(tmp_path, capsys):
    torch.save({"state_dict": Command(f"touch {tmp_path / 'ran'}")}, tmp_path / "evil.pt")
    code, out, err = told(capsys, tmp_path / "evil.pt")
    assert (code, out) == (3, "")
    assert "system" in err
    assert "safetensors" in err  # the way out
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"not a checkpoint\n", "text file"),
        (b"PK\x03\x04" + b"\0" * 40, ""),
        (b"\x93NUMPY" * 9, "NumPy"),
    ],
)
def test_what_is_no_checkpoint_is_refused_with_the_reason(tmp_path, capsys, content, reason):
    (tmp_path / "x.pt").write_bytes(content)
    code, out, err = told(capsys, tmp_path / "x.pt")
    assert (code, out) == (3, "")
    assert err.startswith(f"clipclean: error: {tmp_path / 'x.pt'}: ")
    assert reason in err


def test_a_missing_file_and_another_kind_of_model_are_refused(tmp_path, capsys):
    assert told(capsys, tmp_path / "none.pt")[0] == 3
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pt")
    code, _, err = told(capsys, tmp_path / "other.pt")
    assert code == 3
    assert "not a CLIP checkpoint" in err


def test_an_architecture_that_does_not_fit_is_refused(job, capsys):
    code, _, err = told(capsys, job.model, "--arch", "ViT-B-32")
    assert code == 3
    assert "do not fit ViT-B-32" in err
    assert told(capsys, job.model, "--arch", "ViT-B32")[0] == 2


def test_control_characters_in_a_name_do_not_reach_the_terminal(job, capsys):
    hostile = job.folder / "a\x1b[2Jb.pt"
    job.model.rename(hostile)
    code, out, _ = told(capsys, hostile)
    assert code == 0
    assert "\x1b" not in out
    assert "file           a\\x1b[2Jb.pt" in out


def two(folder, *names):
    """Checkpoints with the same shapes and different weights."""
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save(tiny.state_dict(tiny.SMALL_VIT, seed=seed), folder / name)
    return [folder / name for name in names]


def test_several_get_a_block_each_under_their_paths(tmp_path, capsys):
    paths = two(tmp_path, "a/model.pt", "b/model.pt")
    code, out, err = told(capsys, *paths)
    assert (code, err) == (0, "")
    blocks = out.strip().split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [f"file           {path}" for path in paths]
    alone = [told(capsys, path)[1].splitlines()[1:] for path in paths]
    assert [block.splitlines()[1:] for block in blocks] == alone
    assert alone[0] != alone[1]


def test_the_json_of_several_is_a_list_and_that_of_one_is_not(tmp_path, capsys):
    paths = two(tmp_path, "a/model.pt", "b/model.pt")
    both = facts(capsys, *paths)
    assert both == [{"path": str(path), **facts(capsys, path)} for path in paths]
    assert "path" not in facts(capsys, paths[0])


def test_one_refused_among_several_decides_and_hides_no_other(tmp_path, capsys):
    first, last = two(tmp_path, "a.pt", "c.pt")
    torch.save({"state_dict": Command(f"touch {tmp_path / 'ran'}")}, tmp_path / "b.pt")
    code, out, err = told(capsys, first, tmp_path / "b.pt", last)
    assert code == 3
    assert [line for line in out.splitlines() if line.startswith("file ")] == [
        f"file           {path}" for path in (first, last)
    ]
    assert err.startswith(f"clipclean: error: {tmp_path / 'b.pt'}: ")
    assert "system" in err
    assert not (tmp_path / "ran").exists()


def test_every_refusal_of_several_is_told(tmp_path, capsys):
    (tmp_path / "text.pt").write_bytes(b"not a checkpoint\n")
    (tmp_path / "empty.pt").write_bytes(b"")
    code, out, err = told(capsys, tmp_path / "text.pt", tmp_path / "empty.pt", tmp_path / "none.pt")
    assert (code, out) == (3, "")
    head, *reasons, more = err.splitlines()
    assert (head, more) == (
        "clipclean: error:",
        "clipclean: more: clipclean explain inputs",
    )
    names = ("text.pt", "empty.pt", "none.pt")
    assert [reason.partition(": ")[0] for reason in reasons] == [str(tmp_path / name) for name in names]


def test_the_json_of_several_says_of_the_refused_one_why(tmp_path, capsys):
    (fine,) = two(tmp_path, "fine.pt")
    (tmp_path / "empty.pt").write_bytes(b"")
    code, out, err = told(capsys, "--json", tmp_path / "empty.pt", fine)
    refused, accepted = json.loads(out)
    assert code == 3
    assert refused["path"] == str(tmp_path / "empty.pt")
    assert err.splitlines()[0] == f"clipclean: error: {refused['error']}"
    assert set(refused) == {"path", "error", "kind"}
    assert accepted["sha256"] == files.sha256(fine)


def test_an_unknown_architecture_is_told_once_and_a_refused_file_is_worse(tmp_path, capsys):
    paths = two(tmp_path, "a.pt", "b.pt")
    code, out, err = told(capsys, *paths, "--arch", "ViT-B32")
    assert (code, out) == (2, "")
    assert err.count("error:") == 1
    (tmp_path / "empty.pt").write_bytes(b"")
    assert told(capsys, paths[0], tmp_path / "empty.pt", "--arch", "ViT-B32")[0] == 3


def test_no_model_is_a_usage_error(capsys):
    code, out, err = told(capsys)
    assert (code, out) == (2, "")
    assert "Missing argument 'MODEL...'" in err
