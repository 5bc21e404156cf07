"""The ONNX graphs: one for images and one for captions, with the tensor names that consumers expect."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipclean import model
from clipclean.errors import UnsupportedModel
from clipclean.export import bpe, formats, hf_directory, parity
from clipclean.export.formats import ExportJob, ExportOptions
from clipclean.export.parity import ExportMismatch, Parity, ParitySamples

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto
    from open_clip.model import CLIP

OPSET = 18  # the exporter's own; LayerNormalization needs 17
MAX_INLINE = 1_900_000_000  # bytes: protobuf ends at 2 GB, and weights beyond it go into a file of their own
# While the graph is made: names that the exporter gives to nothing.
GRAPH_INPUT, GRAPH_OUTPUT = "clip.input", "clip.output"
FP16_MAX = 65504.0
FP16_MIN_VALUES = 1024  # values: what is smaller (biases, norms) saves nothing and costs precision
EXPORTED_UNIT_TOLERANCE = 1e-4  # how far the length of a unit embedding may be from 1; fp16 rounds no outputs


def check_architecture(architecture: model.Architecture, /) -> None:
    """Every model that clipclean reads has graphs."""


def export(job: ExportJob, /) -> list[tuple[str, Parity]]:
    """Write the graphs and what their consumer reads beside them, and compare; raises what ``write`` and ``check`` raise."""
    write(job.folder, job.clip, job.options, metadata=facts(job))
    _write_beside(job)
    agreement = check(job.folder, job.samples, job.options)
    return [(name, agreement) for name in job.options.graphs]


def facts(job: ExportJob, /) -> dict[str, str]:
    """The model's description in an ONNX graph's ``metadata_props``, without which the graph cannot be used correctly."""
    architecture = job.clip.architecture
    description = {
        "architecture": architecture.name.encode("ascii", "backslashreplace").decode(),
        "activation": "quick_gelu" if architecture.quick_gelu else "gelu",
        "embed_dim": job.model_cfg["embed_dim"],
        "context_length": architecture.context_length,
        "vocab_size": job.model_cfg["text_cfg"].get("vocab_size", 49408),
        "logit_scale": float(job.clip.logit_scale().detach()),
        "weights": "fp16" if job.options.fp16 else "fp32",
        "source_sha256": job.source_sha256,
        "tensor_sha256": job.tensor_sha256,
        **{f"image_{key}": value for key, value in job.preprocess_cfg.items()},
    }
    return {f"clip.{key}": value if isinstance(value, str) else json.dumps(value) for key, value in description.items()}


def _write_beside(job: ExportJob, /) -> None:
    """What the consumer reads: open_clip's configs under Immich's names, and the tokenizer with the text graph; or the files of the
    processor and tokenizer of transformers.js, and config.json if a CLIPConfig can describe the model.
    """
    architecture = job.clip.architecture
    if job.options.preset == formats.IMMICH:
        for name, value in (("config.json", job.model_cfg), (formats.PREPROCESS_CFG, job.preprocess_cfg)):
            (job.folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        bpe.write(job.folder / formats.TOKENIZER_FOLDER, context_length=architecture.context_length)
        return
    if architecture.preprocess.resize_mode != "longest":
        hf_directory.write_processor(job.folder, architecture)
    try:
        hf_directory.check_architecture(architecture)
    except UnsupportedModel:
        return
    hf_directory.write_json(job.folder / hf_directory.CONFIG_NAME, hf_directory.config(job.model_cfg))


def write(
    folder: Path,
    clip: model.Clip,
    options: ExportOptions,
    /,
    *,
    metadata: Mapping[str, str],
    max_inline: int = MAX_INLINE,
) -> None:
    """Write both graphs of a model, which is on the CPU, into an existing folder.

    The batch is dynamic, and so is the length of a caption where the model pools at the end-of-text token. ``fp16`` stores weights in half precision
    and computes in single: kernels that compute in half precision are missing, or crash, on CPUs. What the exporter
    notes about our files' paths is left out, and equal weights give equal files.

    Raises:
        UnsupportedModel: a weight is too large for half precision.
        ExportMismatch: the exporter fails.
    """
    net, preset, side = cast("CLIP", clip.net), formats.PRESETS[options.preset], clip.architecture.preprocess.size
    pixels = torch.zeros(2, 3, side, side)  # two: a batch of one would be taken for a constant
    tokens = torch.zeros(2, net.context_length, dtype=getattr(torch, preset.integers))
    batch, length = torch.export.Dim("batch"), torch.export.Dim("sequence", min=2, max=net.context_length)
    is_short = _pools_at_the_end(net) and net.context_length > 2
    axes = {0: batch} | ({1: length} if is_short else {})
    towers = (
        (Tower(net, images, options.is_unit), pixels, (preset.pixels, preset.images), {0: batch}),
        (Tower(net, texts, options.is_unit), tokens, (preset.tokens, preset.texts), axes),
    )
    for name, (tower, example, outputs, dynamic) in zip(options.graphs, towers, strict=True):
        graph = _export_tower(tower, example, dynamic)
        rename(graph.graph, {GRAPH_INPUT: outputs[0], GRAPH_OUTPUT: outputs[1]})
        _tidy(graph, Path(name).stem, {**metadata, "normalised": str(options.is_unit).lower()})
        if options.fp16:
            halve_weights(graph)
        _save(folder / name, graph, max_inline)


class Tower(nn.Module):
    """One tower: its inputs to embeddings (B, D), of unit length if so wanted."""

    def __init__(self, net: "CLIP", embed: Callable[["CLIP", Tensor], Tensor], normalise: bool) -> None:
        super().__init__()
        self.net, self.embed, self.normalise = net, embed, normalise

    def forward(self, inputs: Tensor) -> Tensor:
        """Embeddings (B, D)."""
        features = self.embed(self.net, inputs)
        return F.normalize(features, dim=-1) if self.normalise else features


def images(net: "CLIP", pixels: Tensor, /) -> Tensor:
    """Pixels (B, 3, S, S), normalised as the model wants them, to embeddings (B, D)."""
    features: Tensor = net.encode_image(pixels)
    return features


def texts(net: "CLIP", tokens: Tensor, /) -> Tensor:
    """Token ids (B, L), L up to the context, to embeddings (B, D).

    As open_clip's ``encode_text``, for captions that are not padded to the whole context. Exact: attention is causal, and the
    pooled token is the first with the largest id, which is end-of-text.
    """
    if not _pools_at_the_end(net):
        features: Tensor = net.encode_text(tokens)
        return features
    return model.pool_text(net, tokens, tokens.argmax(dim=-1))


def _pools_at_the_end(net: "CLIP", /) -> bool:
    """Whether tokens after the end-of-text token have no effect on a caption's embedding."""
    return net.text_pool_type == "argmax" and net.attn_mask is not None


def _export_tower(tower: Tower, example: Tensor, dynamic: dict[int, torch.export.Dim], /) -> "ModelProto":
    """The tower's graph from ``GRAPH_INPUT`` to ``GRAPH_OUTPUT``."""
    was_training = tower.net.training
    tower.eval()
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                tower,
                (example,),
                dynamo=True,
                dynamic_shapes=(dynamic,),
                opset_version=OPSET,
                input_names=[GRAPH_INPUT],
                output_names=[GRAPH_OUTPUT],
                verbose=False,
            )
            assert program is not None  # noqa: S101 # dynamo gives one
            return program.model_proto
    except (RuntimeError, ValueError, TypeError) as error:  # torch.onnx.OnnxExporterError is a RuntimeError
        first = str(error).strip().partition("\n")[0]
        raise ExportMismatch(
            f"torch {torch.__version__} cannot export the tower of {tower.embed.__name__} to ONNX: {first}. "
            "Nothing was exported. Try other versions of torch and onnxscript."
        ) from error
    finally:
        tower.net.train(was_training)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide messages of torch and onnxscript for their own developers."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def rename(graph: "GraphProto", names: Mapping[str, str], /) -> None:
    """Give the graph's ends their names; an inner value that has one already ("embedding", say) makes way."""
    new_names = {**{new: f"{new}.inner" for new in names.values()}, **names}
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = new_names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [new_names.get(name, name) for name in node.input]
        node.output[:] = [new_names.get(name, name) for name in node.output]


def _tidy(graph: "ModelProto", name: str, metadata: Mapping[str, str], /) -> None:
    """Name the graph, put our metadata on it, and take off stack traces with the paths of this machine."""
    graph.graph.name = name
    for owner in (graph, *_owners(graph.graph), *(node for function in graph.functions for node in function.node)):
        del owner.metadata_props[:]
        owner.doc_string = ""
    for key, value in sorted(metadata.items()):
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, value


def _owners(graph: "GraphProto", /) -> Iterator["GraphProto | NodeProto | ValueInfoProto | TensorProto"]:
    """Whatever of a graph can carry notes, in subgraphs as well."""
    yield graph
    yield from (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from (owner for inner in (attribute.g, *attribute.graphs) if inner.node for owner in _owners(inner))


def halve_weights(graph: "ModelProto", /) -> None:
    """Store large fp32 weights in fp16, each with a cast to fp32 behind it, which runtimes fold when they load."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in graph.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < FP16_MIN_VALUES:
            continue
        values = numpy_helper.to_array(weight)
        if np.isinf(values).any():  # the causal mask, which is no weight
            continue
        if np.abs(values).max() > FP16_MAX:
            raise UnsupportedModel(
                f"The weight {weight.name!a} holds {np.abs(values).max():g}, and fp16 ends at {FP16_MAX:g}. "
                "Export without --fp16."
            )
        name, half_name = weight.name, f"{weight.name}.fp16"
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), half_name))
        casts.append(helper.make_node("Cast", [half_name], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def _save(path: Path, graph: "ModelProto", max_inline: int, /) -> None:
    """Write one file, or two where protobuf could not hold the weights."""
    import onnx

    path.parent.mkdir(parents=True, exist_ok=True)
    size = sum(len(weight.raw_data) for weight in graph.graph.initializer)
    if size <= max_inline:
        path.write_bytes(graph.SerializeToString(deterministic=True))
    else:
        onnx.save_model(
            graph,
            path,
            save_as_external_data=True,
            all_tensors_to_one_file=True,
            location=f"{path.name}{formats.DATA_SUFFIX}",
        )


def check(folder: Path, samples: ParitySamples, options: ExportOptions, /) -> Parity:
    """Run the graphs with onnxruntime in a child process, and compare unit embeddings with ours.

    Raises:
        ExportMismatch: onnxruntime cannot load or run them, or their embeddings differ, or do not have unit length
            where they should.
    """
    answer = parity.ask("onnxruntime", folder, samples, *options.graphs)
    agreement = parity.hold(parity.compare(samples, answer), parity.FP16_LIMITS if options.fp16 else parity.FP32_LIMITS)
    lengths = np.linalg.norm(np.concatenate((answer["images"], answer["texts"])), axis=1)
    furthest = float(np.abs(lengths - 1).max())
    if options.is_unit and not furthest <= EXPORTED_UNIT_TOLERANCE:
        raise ExportMismatch(f"An embedding is off length 1 by {furthest:.2g}. Nothing was exported.")
    return agreement
