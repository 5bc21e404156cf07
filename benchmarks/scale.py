"""Say what cleaning a large CLIP costs, from operations counted on shapes and from stated rates.

    python benchmarks/scale.py --write benchmarks/results/running.md

Nothing is timed here. ``time = operations / (GPUs × peak × utilisation)``; the peak is the maker's, the utilisation is an
assumption that the page states, and memory is what weights, gradients, moments and kept activations take.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from blocks import fill
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from clipclean import model, train

MODELS = ("ViT-B-32-quickgelu", "ViT-L-14-quickgelu", "ViT-H-14")
PAIRS, EPOCHS, BATCH = 100_000, 10, 1024
TOKENS = 24  # where the longest caption of a large batch ends; the time of the text tower is proportional to it
PEAK = 989e12  # dense bf16 operations a second of an H100 SXM: NVIDIA's data sheet
MEMORY = 80e9  # bytes of an H100 SXM: NVIDIA's data sheet
LINK = 450e9  # bytes a second, one way, of NVLink 4 between them: NVIDIA's data sheet
UTILISATION = 0.40  # assumed: the goal for ViT-B/32 at batch 1024


class Cost(NamedTuple):
    """The size of a model, and what one pair with its second views takes in a step."""

    parameters: int
    operations: float  # forward and backward
    forward: float
    kept: float  # bytes that the backward pass needs, in bf16 autocast
    inputs: float  # the same where blocks compute their inside again


class Run(NamedTuple):
    """Hours, and the most bytes on a GPU."""

    hours: float
    memory: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="a page with the markers of the block scale")
    o = parser.parse_args()
    text = table({name: cost(name) for name in MODELS})
    print(text)
    if o.write:
        fill(o.write, "scale", text)
    return 0


def cost(name: str, /, *, pairs: int = 2) -> Cost:
    """Counted on shapes alone: no memory is taken for weights, and nothing is computed."""
    from open_clip.factory import get_model_config
    from open_clip.model import CLIP

    with FakeTensorMode():
        net = CLIP(**get_model_config(name)).train()
        config = get_model_config(name)
        clip = model.Clip(net, architecture(name, config), torch.device("cpu"))
        with FlopCounterMode(display=False) as counter:
            loss = embedded(clip, pairs)
            forward = counter.get_total_flops()
            loss.backward()
        kept = {again: kept_bytes(clip, pairs, again=again) for again in (False, True)}
    parameters = model.parameter_count(net)
    return Cost(parameters, counter.get_total_flops() / pairs, forward / pairs, kept[False] / pairs, kept[True] / pairs)


def architecture(name: str, config: dict[str, Any], /) -> model.Architecture:
    """What is known of an architecture without weights."""
    with torch.device("meta"):
        from open_clip.model import CLIP

        weights = CLIP(**config).state_dict()
    return model.resolve(weights, arch=name, config=None, script_quick_gelu=None)


def embedded(clip: model.Clip, pairs: int, /) -> Tensor:
    """A scalar that depends on all embeddings of so many pairs and their second views."""
    side = clip.architecture.preprocess.size
    pixels = torch.empty(2 * pairs, 3, side, side)
    tokens = torch.zeros(2 * pairs, TOKENS, dtype=torch.int64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return clip.encode_images(pixels).sum() + text_of(clip, tokens).sum()


def text_of(clip: model.Clip, tokens: Tensor, /) -> Tensor:
    """As ``Clip.encode_tokens`` on captions that end at their last token: where tokens end cannot be read off shapes."""
    net: Any = clip.net
    x = net.token_embedding(tokens) + net.positional_embedding[:TOKENS]
    x = net.ln_final(net.transformer(x, attn_mask=net.attn_mask[:TOKENS, :TOKENS]))
    return F.normalize((x[:, -1] @ net.text_projection).float(), dim=-1)


def kept_bytes(clip: model.Clip, pairs: int, /, *, again: bool) -> int:
    """Bytes of what the forward pass keeps for the backward pass, beside the weights."""
    held: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage()._cdata] = tensor  # kept alive, so that no other storage gets its place
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor), train.recomputing(clip.net, clip.blocks(), wanted=again):
        embedded(clip, pairs)
    weights = {parameter.untyped_storage()._cdata for parameter in clip.net.parameters()}
    cast = {
        tuple(parameter.shape) for parameter in clip.net.parameters() if parameter.ndim > 1
    }  # bf16 copies of weights
    cast |= {shape[::-1] for shape in cast}
    return sum(
        tensor.untyped_storage().nbytes()
        for place, tensor in held.items()
        if place not in weights and not (tensor.dtype == torch.bfloat16 and tuple(tensor.shape) in cast)
    )


# From one pair to a run.


def run(cost: Cost, /, *, gpus: int, micro_batch: int | None = None, again: bool = False) -> Run:
    """Time and memory of the whole run.

    Operations: those of a step, and the forward pass once more for each way to save memory. Communication: each GPU sends
    and gets twice its gradients in fp32, after the backward pass. Memory: weights, gradients and two moments in fp32, a
    bf16 copy of the weights, and what the backward pass keeps of the pairs that a GPU takes at once.
    """
    steps = PAIRS // BATCH * EPOCHS
    extra = cost.forward * ((micro_batch is not None) + again)
    computing = BATCH * (cost.operations + extra) / (gpus * PEAK * UTILISATION)
    sending = 2 * 4 * cost.parameters * (gpus - 1) / gpus / LINK
    at_once = min(micro_batch or BATCH, BATCH // gpus)
    memory = (4 * 4 + 2) * cost.parameters + at_once * (cost.inputs if again else cost.kept)
    return Run(steps * (computing + sending) / 3600, memory)


def fitting(cost: Cost, /, *, gpus: int) -> int | None:
    """The largest micro-batch, a power of two, that leaves a tenth of a GPU free; None where the whole share fits."""
    if run(cost, gpus=gpus).memory < 0.9 * MEMORY:
        return None
    size = BATCH // gpus
    while size > 1 and run(cost, gpus=gpus, micro_batch=size).memory >= 0.9 * MEMORY:
        size //= 2
    return size


def table(costs: dict[str, Cost], /) -> str:
    """One row a model and number of GPUs."""
    rows = [
        "| model | parameters | TFLOP a pair | kept a pair | H100s | micro-batch | hours | memory a GPU | hours with checkpoint_activations | memory a GPU |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, each in costs.items():
        for gpus in (1, 8):
            size = fitting(each, gpus=gpus)
            plain, lean = run(each, gpus=gpus, micro_batch=size), run(each, gpus=gpus, again=True)
            rows.append(
                f"| {name.removesuffix('-quickgelu')} | {each.parameters / 1e6:,.0f} M | {each.operations / 1e12:.3f} | "
                f"{each.kept / 1e6:,.0f} MB | {gpus} | {size or 'none'} | {plain.hours:.2f} | {plain.memory / 1e9:.0f} GB | "
                f"{lean.hours:.2f} | {lean.memory / 1e9:.0f} GB |"
            )
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
