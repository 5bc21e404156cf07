import json
import subprocess
from dataclasses import asdict, replace

import pytest
import tiny
import torch

from clipclean import model
from clipclean.export import open_clip_directory, parity, read_back


@pytest.fixture
def clip():
    weights = tiny.state_dict(tiny.SMALL_VIT)
    found = model.resolve(weights, arch=None, config=None, script_quick_gelu=None).with_activation(True, "test")
    return model.build(found, weights, device="cpu")


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


def write(clip, folder, *, preprocess=None):
    open_clip_directory.write(
        folder,
        clip.net.state_dict(),
        model_cfg=clip.architecture.config,
        preprocess_cfg=preprocess or asdict(clip.architecture.preprocess),
    )


def asked(clip):
    pixels = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    tokens = clip.tokens(["a red square", "two dogs", ""])
    images, texts = clip.embed_images(pixels), clip.embed_tokens(tokens)
    return parity.ParitySamples(clip.normalise(pixels), tokens, images, texts, captions=())


def test_the_folder_holds_a_config_and_weights_that_open_clip_reads_alike(clip, tmp_path, in_process):
    write(clip, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"open_clip_config.json", "open_clip_model.safetensors"}
    config = json.loads((tmp_path / "open_clip_config.json").read_text())
    assert config["model_cfg"]["quick_gelu"] is True
    assert config["preprocess_cfg"] == {
        "size": 16,
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    parity = open_clip_directory.check(tmp_path, asked(clip))
    assert parity.n == 5 + 3
    assert parity.max_difference < 1e-6
    assert parity.min_cosine > 0.999999
    assert parity.top1_agreement == 1.0
    assert parity.reader.startswith("open_clip ")


def test_equal_weights_give_equal_files(clip, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        write(clip, tmp_path / name)
    for file in ("open_clip_config.json", "open_clip_model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_another_activation_in_the_config_is_noticed(clip, tmp_path, in_process):
    """The weights are the same, and open_clip would compute with GELU what was trained with QuickGELU."""
    clip.net.state_dict()["visual.transformer.resblocks.0.mlp.c_fc.bias"].sub_(2)  # where the two differ most
    clip.net.state_dict()["visual.transformer.resblocks.0.mlp.c_proj.weight"].mul_(10)
    write(clip, tmp_path)
    config = tmp_path / "open_clip_config.json"
    config.write_text(config.read_text().replace('"quick_gelu": true', '"quick_gelu": false'))
    with pytest.raises(parity.ExportMismatch, match=r"differ from ours by up to .*Nothing was exported"):
        open_clip_directory.check(tmp_path, asked(clip))


def test_weights_that_moved_after_they_were_written_are_noticed(clip, tmp_path, in_process):
    write(clip, tmp_path)
    with torch.no_grad():
        clip.net.visual.proj.add_(0.01 * torch.randn(clip.net.visual.proj.shape))
    with pytest.raises(parity.ExportMismatch, match="differ from ours"):
        open_clip_directory.check(tmp_path, asked(clip))


def test_embeddings_that_are_no_numbers_are_noticed(clip, tmp_path, in_process):
    write(clip, tmp_path)
    inputs = replace(asked(clip), images=asked(clip).images * float("nan"))
    with pytest.raises(parity.ExportMismatch):
        open_clip_directory.check(tmp_path, inputs)


def test_what_open_clip_cannot_load_is_told_with_its_last_words(clip, tmp_path, in_process):
    write(clip, tmp_path)
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"short")
    with pytest.raises(parity.ExportMismatch, match=r"open_clip cannot load the files written to .*Error: ") as told:
        open_clip_directory.check(tmp_path, asked(clip))
    assert told.value.exit_code == 5
