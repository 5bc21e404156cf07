import json
import subprocess
from dataclasses import asdict, replace

import pytest
import torch
from clips import build, samples, unlike

from clipclean.export import open_clip_directory, parity, read_back


@pytest.fixture
def clip():
    return build()


@pytest.fixture
def in_process(monkeypatch):
    """Run the child's main here: starting a process takes three seconds. One test elsewhere starts it."""

    def run(command, **_):
        try:
            read_back.main(*command[4:])
        except Exception as error:
            return subprocess.CompletedProcess(command, 1, "", f"Traceback\n{type(error).__name__}: {error}\n")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)


def write(clip, folder):
    configs = {"model_cfg": clip.architecture.config, "preprocess_cfg": asdict(clip.architecture.preprocess)}
    open_clip_directory.write(folder, clip.net.state_dict(), **configs)


def test_the_folder_holds_a_config_and_weights_that_open_clip_reads_alike(clip, tmp_path, in_process):
    write(clip, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"open_clip_config.json", "open_clip_model.safetensors"}
    config = json.loads((tmp_path / "open_clip_config.json").read_text())
    assert config["model_cfg"]["quick_gelu"] is True
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    how = {"size": 16, "interpolation": "bicubic", "resize_mode": "shortest"}
    assert config["preprocess_cfg"] == {"mean": mean, "std": std} | how
    found = open_clip_directory.check(tmp_path, samples(clip))
    assert (found.n, found.top1_agreement) == (5 + 5, 1.0)
    assert found.max_difference < 1e-6
    assert found.min_cosine > 0.999999
    assert found.reader.startswith("open_clip ")


def another_activation(clip, folder):
    """The weights are the same, and open_clip would compute with GELU what was trained with QuickGELU."""
    write(unlike(clip), folder)
    config = folder / "open_clip_config.json"
    config.write_text(config.read_text().replace('"quick_gelu": true', '"quick_gelu": false'))


def moved_weights(clip, folder):
    write(clip, folder)
    with torch.no_grad():
        clip.net.visual.proj.add_(0.01 * torch.randn(clip.net.visual.proj.shape))


def cut_weights(clip, folder):
    write(clip, folder)
    (folder / "open_clip_model.safetensors").write_bytes(b"short")


@pytest.mark.parametrize("damage", [another_activation, moved_weights, cut_weights, write])
def test_what_is_not_the_model_and_embeddings_that_are_no_numbers_are_noticed(clip, tmp_path, in_process, damage):
    damage(clip, tmp_path)
    asked = samples(clip)
    asked = replace(asked, images=asked.images * float("nan")) if damage is write else asked
    with pytest.raises(parity.ExportMismatch, match="open_clip") as told:
        open_clip_directory.check(tmp_path, asked)
    assert told.value.exit_code == 5
