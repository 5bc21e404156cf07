import importlib.util
import json

import clips
import pytest
import short
import tiny
import torch
from tiny import files_in as names

from clipclean import checkpoint, files, progress
from clipclean.errors import UsageError
from clipclean.export import formats, onnx_files, parity


def wanted(*names, preset="transformers.js", normalise=False, fp16=False):
    return formats.ExportOptions(names, preset, normalise, fp16)


def build(config):
    return clips.build(config), tiny.state_dict(config)


def write(folder, clip, weights, choice):
    side = clip.architecture.preprocess.size
    pixels = torch.rand(5, 3, side, side, generator=torch.Generator())
    shown = {"pixels": pixels, "captions": [f"a {name}" for name in tiny.CLASSES[:5]]}
    return formats.write(folder, clip, weights, wanted=choice, source_sha256="ab" * 32, **shown)


@pytest.fixture
def no_transformers(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else found(name))


def test_choices_are_checked_before_anything_is_written(monkeypatch):
    formats.check(wanted("hf", "onnx"))
    formats.check(wanted("open_clip", "onnx", preset="immich"))
    with pytest.raises(UsageError, match=r"config\.json"):
        formats.check(wanted("hf", "onnx", preset="immich"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    formats.check(wanted("open_clip", "hf"))
    with pytest.raises(UsageError, match="onnx, onnxscript, onnxruntime"):
        formats.check(wanted("onnx"))


def test_without_transformers_the_file_itself_is_mapped_back_and_compared(tmp_path, no_transformers):
    clip, weights = build(tiny.SMALL_VIT)
    heard = []
    with progress.heard(progress.Listener(steps=lambda *told: heard.append(told))):
        (entry,) = write(tmp_path, clip, weights, wanted("hf"))
    assert entry.parity["reader"].startswith("clipclean")
    assert entry.parity["max_difference"] < 1e-6  # one batch, or several
    assert (entry.format, entry.path) == ("hf", "model.safetensors")
    assert entry.sha256 == files.sha256(tmp_path / "model.safetensors")
    assert heard == [("exporting hf", 0, 1), ("exporting hf", 1, 1)]
    clip, weights = build(tiny.SMALL_VIT)
    moved = weights | {"visual.proj": weights["visual.proj"].flip(1)}
    with pytest.raises(parity.ExportMismatch, match="clipclean"):
        write(tmp_path, clip, moved, wanted("hf"))


@pytest.fixture
def no_graphs(monkeypatch):
    """Skip the exporter and the runtime, which take seconds; keep what the graphs would have been told."""
    told = {}

    def write(folder, clip, wanted, /, *, metadata):
        told.update(metadata)
        for name in wanted.graphs:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)

    monkeypatch.setattr(onnx_files, "write", write)
    monkeypatch.setattr(onnx_files, "check", short.alike)
    return told


@pytest.mark.parametrize("form", ["open_clip", pytest.param("hf", marks=pytest.mark.slow)])
def test_equal_weights_give_equal_files_and_all_that_the_format_names(tmp_path, form, unread, no_transformers):
    for place in "ab":
        (tmp_path / place).mkdir()
        write(tmp_path / place, *build(tiny.SMALL_VIT), wanted(form))
    assert names(tmp_path / "a") == names(tmp_path / "b") == set(formats.FORMATS[form].files)
    for file in names(tmp_path / "a"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_the_graphs_are_told_what_is_needed_to_use_them(tmp_path, no_graphs):
    clip, weights = build(tiny.SMALL_VIT)
    entries = write(tmp_path, clip, weights, wanted("onnx", fp16=True))
    assert [entry.path for entry in entries] == ["onnx/vision_model_fp16.onnx", "onnx/text_model_fp16.onnx"]
    assert no_graphs["clip.context_length"] == "8"
    assert no_graphs["clip.activation"] == "quick_gelu"
    assert json.loads(no_graphs["clip.image_mean"]) == [0.48145466, 0.4578275, 0.40821073]
    assert (no_graphs["clip.image_size"], no_graphs["clip.image_interpolation"]) == ("16", "bicubic")
    assert float(no_graphs["clip.logit_scale"]) == pytest.approx(1 / 0.07)
    assert no_graphs["clip.source_sha256"] == "ab" * 32
    assert no_graphs["clip.tensor_sha256"] == checkpoint.digest(weights)


JS = {"config.json", "preprocessor_config.json", "tokenizer.json"}
IMMICH = {"config.json", "visual/preprocess_cfg.json", "textual/tokenizer.json", "textual/tokenizer_config.json"}


@pytest.mark.parametrize(
    ("config", "choice", "has", "has_not"),
    [
        (tiny.SMALL_VIT, wanted("onnx"), JS, set()),
        (tiny.TINY_RESNET, wanted("onnx"), JS - {"config.json"}, {"config.json"}),  # no CLIPConfig describes it
        (tiny.SMALL_VIT, wanted("onnx", preset="immich"), IMMICH, set()),
    ],
)
def test_beside_the_graphs_stands_what_their_consumer_reads(tmp_path, no_graphs, config, choice, has, has_not):
    write(tmp_path, *build(config), choice)
    assert (has - names(tmp_path), has_not & names(tmp_path)) == (set(), set())
    assert names(tmp_path) <= set(formats.NAMES)
    if choice.preset == "immich":
        assert json.loads((tmp_path / "config.json").read_text())["text_cfg"]["context_length"] == 8
