"""The names of transformers' CLIPModel, which open_clip's native ViT gives to the same weights otherwise."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from clipclean.errors import UnsupportedModel

# open_clip's name: transformers' name. "pre_layrnorm" is their spelling.
SAME = {
    "logit_scale": "logit_scale",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
# A parameter (width, embedding) there, the weight of a Linear (embedding, width) here.
TRANSPOSED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
BLOCKS = {
    "visual.transformer.resblocks.": "vision_model.encoder.layers.",
    "transformer.resblocks.": "text_model.encoder.layers.",
}
LAYERS = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
KINDS = ("weight", "bias")
TOWERS = ("vision_model.", "text_model.")
LARGEST_DEPTH = 1000  # blocks of one tower; no CLIP has a tenth


def is_named(names: Collection[str], /) -> bool:
    """Whether tensors have the names that transformers gives."""
    return any(name.startswith(TOWERS) for name in names)


def check(names: Collection[str], /) -> None:
    """Raise UnsupportedModel unless the names are exactly those of a CLIPModel."""
    _plan_of_theirs(names)


def to_open_clip(tensors: Mapping[str, Tensor], /) -> dict[str, Tensor]:
    """A CLIPModel's state dict under open_clip's names, contiguous.

    Query, key and value become one matrix (3 W, W), and the projections are transposed. What needs no change is passed
    on, not copied. ``from_open_clip`` gives back the same bits.

    Raises:
        UnsupportedModel: names or shapes are not those of a CLIPModel.

    Example:
        >>> from clipclean.checkpoint import hugging_face
        >>> ours = hugging_face.to_open_clip(clip_model.state_dict())  # doctest: +SKIP
        >>> ours["visual.proj"].shape  # (width, embedding) # doctest: +SKIP
        torch.Size([768, 512])
    """
    plan = _plan_of_theirs(tensors)
    return {ours: _joined(ours, {name: tensors[name] for name in sources}) for ours, sources in plan.items()}


def from_open_clip(tensors: Mapping[str, Tensor], /) -> dict[str, Tensor]:
    """The state dict of a native open_clip ViT under the names of a CLIPModel, contiguous.

    What needs no change is passed on, and query, key and value are views of the one matrix that they were.

    Raises:
        UnsupportedModel: it is a ResNet, which transformers does not have, or no plain ViT.
    """
    if any(name.startswith("visual.layer1.") for name in tensors):
        raise UnsupportedModel(
            "The image tower is a ResNet, and transformers' CLIPModel has ViT towers alone. Use open_clip's layout."
        )
    plan = _plan({ours: _depth(tensors, ours) for ours in BLOCKS})
    _refuse_others(tensors, list(plan), "The tensors are not those of an open_clip ViT that transformers can express")
    renamed: dict[str, Tensor] = {}
    for ours, sources in plan.items():
        renamed |= zip(sources, _parted(ours, tensors[ours], len(sources)), strict=True)
    return renamed


def _plan_of_theirs(names: Collection[str], /) -> dict[str, tuple[str, ...]]:
    """``_plan`` for a CLIPModel with exactly these names."""
    plan = _plan({ours: _depth(names, theirs) for ours, theirs in BLOCKS.items()})
    expected = [name for sources in plan.values() for name in sources]
    _refuse_others(names, expected, "its tensors are not those of transformers' CLIPModel")
    return plan


def _plan(depths: Mapping[str, int], /) -> dict[str, tuple[str, ...]]:
    """For each of open_clip's names, the one name or the three names that transformers has in its place."""
    plan: dict[str, tuple[str, ...]] = {ours: (theirs,) for ours, theirs in (SAME | TRANSPOSED).items()}
    for ours, depth in depths.items():
        for block in range(depth):
            here, there = f"{ours}{block}.", f"{BLOCKS[ours]}{block}."
            for kind in KINDS:
                plan[f"{here}attn.in_proj_{kind}"] = tuple(f"{there}self_attn.{part}_proj.{kind}" for part in "qkv")
                plan |= {f"{here}{one}.{kind}": (f"{there}{other}.{kind}",) for one, other in LAYERS.items()}
    return plan


def _depth(names: Collection[str], prefix: str, /) -> int:
    """How many numbered blocks stand behind a prefix; at least one, so that a missing tower is noticed."""
    numbers = {name.removeprefix(prefix).partition(".")[0] for name in names if name.startswith(prefix)}
    return min(max(len({number for number in numbers if number.isdecimal()}), 1), LARGEST_DEPTH)


def _refuse_others(names: Collection[str], expected: Collection[str], finding: str, /) -> None:
    """Refuse names that are missing or unknown; ``finding`` opens the message."""
    missing = [name for name in expected if name not in names]
    unknown = sorted(set(names).difference(expected))
    if missing or unknown:
        groups = ((missing, "missing"), (unknown, "unknown"))
        parts = "; ".join(f"{len(group)} {word} ({_listed(group)})" for group, word in groups if group)
        raise UnsupportedModel(
            f"{finding}: {parts}. Check that it is the whole model, not one tower, an adapter "
            "or another kind of model. SigLIP, ALIGN, AltCLIP, ChineseCLIP and the like are not handled."
        )


def _joined(ours: str, parts: Mapping[str, Tensor], /) -> Tensor:
    """One tensor of open_clip from its parts."""
    first, *rest = parts.values()
    if rest:
        if first.ndim == 0 or any((part.shape, part.dtype) != (first.shape, first.dtype) for part in rest):
            raise UnsupportedModel(f"the shapes or dtypes of {_listed(list(parts))} differ, as in no CLIPModel.")
        return torch.cat([first, *rest])  # 3 x (W, W) -> (3 W, W)
    return _transposed(next(iter(parts)), first) if ours in TRANSPOSED else first.contiguous()


def _parted(ours: str, tensor: Tensor, count: int, /) -> list[Tensor]:
    """The parts of one tensor of open_clip."""
    if ours in TRANSPOSED:
        return [_transposed(ours, tensor)]
    if ours in SAME or count == 1:
        return [tensor.contiguous()]
    if tensor.ndim == 0 or len(tensor) % count:
        raise UnsupportedModel(f"{ours} of shape {tuple(tensor.shape)} does not hold query, key and value.")
    return list(tensor.contiguous().chunk(count))


def _transposed(name: str, tensor: Tensor, /) -> Tensor:
    if tensor.ndim != 2:
        raise UnsupportedModel(f"{name!a} has the shape {tuple(tensor.shape)}, and a projection has two axes.")
    return tensor.T.contiguous()


def _listed(names: list[str], /) -> str:
    """At most four names, printable."""
    return ", ".join(ascii(name[:80]) for name in names[:4]) + (", …" if len(names) > 4 else "")
