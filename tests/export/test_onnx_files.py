import itertools
import logging
import warnings
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny
import torch
from clips import build, samples

from clipclean.errors import UnsupportedModel
from clipclean.export import formats, onnx_files, parity

JS = formats.ExportOptions(("onnx",))
IMMICH = replace(JS, preset="immich", fp16=True)
METADATA = {"clip.context_length": "8", "clip.architecture": "tiny"}


def write(folder, clip, wanted=JS, **given):
    onnx_files.write(folder, clip, wanted, metadata=METADATA, **given)


@pytest.fixture(scope="module")
def vit():
    return build(tiny.TINY_VIT)


@pytest.fixture(scope="module")
def folder(vit, tmp_path_factory):
    """The graphs of a tiny ViT; made once, since the exporter takes seconds."""
    place = tmp_path_factory.mktemp("onnx")
    write(place, vit)
    return place


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def ends(path):
    """Names, types and shapes of a graph's inputs and outputs."""
    opened = session(path)
    return [(end.name, end.type, end.shape) for end in (*opened.get_inputs(), *opened.get_outputs())]


@pytest.mark.slow
def test_the_ends_of_the_graphs_are_those_of_transformers_js(folder):
    assert ends(folder / "onnx/vision_model.onnx") == [
        ("pixel_values", "tensor(float)", ["batch", 3, 32, 32]),
        ("image_embeds", "tensor(float)", ["batch", 16]),
    ]
    assert ends(folder / "onnx/text_model.onnx") == [
        ("input_ids", "tensor(int64)", ["batch", "sequence"]),
        ("text_embeds", "tensor(float)", ["batch", 16]),
    ]


@pytest.mark.slow
def test_the_graphs_are_valid(folder):
    assert tiny.files_in(folder) == set(JS.graphs)
    for name in JS.graphs:
        graph = onnx.load(folder / name)
        onnx.checker.check_model(graph, full_check=True)
        assert {entry.domain: entry.version for entry in graph.opset_import}[""] >= 17


@pytest.mark.slow
def test_a_graph_tells_nothing_of_this_machine(folder):
    graph = onnx.load(folder / "onnx/vision_model.onnx")
    assert {entry.key: entry.value for entry in graph.metadata_props} == METADATA | {"normalised": "false"}
    raw = (folder / "onnx/vision_model.onnx").read_bytes()
    assert b"site-packages" not in raw
    assert b".py" not in raw


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2, 5, 7])
def test_the_runtime_computes_features_of_the_same_length_for_any_batch(folder, vit, batch):
    asked = samples(vit, images=7)
    with torch.no_grad():
        ours = vit.net.encode_image(asked.pixels[:batch])
    (theirs,) = session(folder / "onnx/vision_model.onnx").run(None, {"pixel_values": asked.pixels[:batch].numpy()})
    assert np.abs(theirs - ours.numpy()).max() < 1e-5


@pytest.mark.slow
def test_the_padding_of_a_caption_makes_no_difference(folder, vit):
    """transformers pads by end-of-text to the longest of a batch, open_clip by zero to the context."""
    opened = session(folder / "onnx/text_model.onnx")
    tokens = vit.tokens(["red", "blue"]).numpy()
    end = int(tokens[0].argmax()) + 1
    padded_otherwise = np.where(np.arange(8) < end, tokens, 49407)
    embeddings = [opened.run(None, {"input_ids": ids})[0] for ids in (tokens, tokens[:, :end], padded_otherwise)]
    assert np.abs(embeddings[0] - embeddings[1]).max() < 1e-6
    assert np.abs(embeddings[0] - embeddings[2]).max() < 1e-6


@pytest.mark.slow
def test_the_runtime_in_a_process_of_its_own_computes_the_same(folder, vit):
    result = onnx_files.check(folder, samples(vit), JS)
    assert result.max_difference < 2e-6
    assert (result.n, result.top1_agreement) == (10, 1.0)
    assert result.reader == f"onnxruntime {onnxruntime.__version__}"


@pytest.mark.slow
def test_moved_weights_are_noticed(folder, vit):
    asked = samples(vit)
    moved = parity.ParitySamples(asked.pixels, asked.tokens, asked.images.roll(1, 0), asked.texts, asked.captions)
    with pytest.raises(parity.ExportMismatch, match="onnxruntime"):
        onnx_files.check(folder, moved, JS)


@pytest.mark.slow
def test_lengths_that_were_not_promised_are_noticed(folder, vit):
    with pytest.raises(parity.ExportMismatch):
        onnx_files.check(folder, samples(vit), replace(JS, normalise=True))


@pytest.mark.slow
def test_an_export_again_leaves_only_the_same_files(vit, folder, tmp_path, capfd):
    """Nothing is said, and the mode of the model and of the log stay; one test, since the exporter takes seconds."""
    vit.net.train()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        write(tmp_path, vit)
    for name in JS.graphs:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert vit.net.training
    vit.net.eval()
    assert capfd.readouterr() == ("", "")
    assert not heard
    assert logging.root.manager.disable == logging.NOTSET


@pytest.mark.slow
def test_a_resnet_with_halved_weights_under_immichs_names_has_unit_embeddings_within_the_looser_limits(tmp_path):
    clip = build(tiny.TINY_RESNET)
    write(tmp_path, clip, IMMICH)
    assert ends(tmp_path / "visual/model.onnx")[0] == ("image", "tensor(float)", ["batch", 3, 32, 32])
    assert [end[0] for end in ends(tmp_path / "textual/model.onnx")] == ["text", "embedding"]
    assert ends(tmp_path / "textual/model.onnx")[0][1] == "tensor(int32)"
    found = onnx_files.check(tmp_path, samples(clip), IMMICH)
    assert 0 < found.max_difference < 1e-2
    halves = {weight.data_type for weight in onnx.load(tmp_path / "textual/model.onnx").graph.initializer}
    assert onnx.TensorProto.FLOAT16 in halves
    full = 4 * clip.net.token_embedding.weight.numel()
    assert (tmp_path / "textual/model.onnx").stat().st_size < 0.6 * full


@pytest.mark.slow
def test_weights_beyond_one_file_stand_in_a_second(vit, tmp_path):
    write(tmp_path, vit, max_inline=1000)
    graphs = {f"{kind}_model.onnx{end}" for kind in ("vision", "text") for end in ("", "_data")}
    assert {path.name for path in (tmp_path / "onnx").iterdir()} == graphs
    small, large = (tmp_path / f"onnx/vision_model.onnx{end}" for end in ("", "_data"))
    assert small.stat().st_size < large.stat().st_size
    assert onnx_files.check(tmp_path, samples(vit), JS).max_difference < 2e-6


def halved(weights):
    """The types of the weights, once those are halved that may be."""
    graph = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], initializer=weights))
    onnx_files.halve_weights(graph)
    return {weight.name: weight.data_type for weight in graph.graph.initializer}


SMALL = onnx.numpy_helper.from_array(np.full(4, 1e5, np.float32), "bias")


def test_half_precision_refuses_a_weight_that_it_cannot_hold():
    weight = onnx.numpy_helper.from_array(np.full((40, 40), 1e5, np.float32), "w")
    with pytest.raises(UnsupportedModel, match="'w'"):
        halved([SMALL, weight])


def test_half_precision_leaves_a_small_weight():
    assert halved([SMALL]) == {"bias": onnx.TensorProto.FLOAT}


def test_half_precision_leaves_a_causal_mask():
    mask = np.triu(np.full((77, 77), -np.inf, np.float32), 1)
    named = [onnx.numpy_helper.from_array(each, name) for name, each in (("mask", mask), ("w", np.eye(77, dtype="f")))]
    assert halved(named) == {"mask": onnx.TensorProto.FLOAT, "w.fp16": onnx.TensorProto.FLOAT16}


def test_an_inner_value_makes_way_for_the_name_of_an_end():
    places = ("clip.input", "embedding", "clip.output")
    nodes = [onnx.helper.make_node("Neg", [one], [other]) for one, other in itertools.pairwise(places)]
    ends = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in ("clip.input", "clip.output")]
    graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:])
    onnx_files.rename(graph, {"clip.input": "text", "clip.output": "embedding"})
    assert (graph.input[0].name, graph.output[0].name) == ("text", "embedding")
    found = [(*node.input, *node.output) for node in graph.node]
    assert found == [("text", "embedding.inner"), ("embedding.inner", "embedding")]
