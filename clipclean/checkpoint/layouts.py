"""The layouts of checkpoints: which tensors are the weights, and their names in open_clip and transformers."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from clipclean.checkpoint.values import UNUSUAL_DTYPE, DroppedObject, Module, OddTensor, Pairs, TensorRef
from clipclean.errors import RefusedInput, UnsafeCheckpoint, UnsupportedModel, UsageError
from clipclean.untrusted import first_few, quoted

# open_clip's name: transformers' name. "pre_layrnorm" is their spelling.
DIRECT_NAMES = {
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
PROJECTIONS = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
BLOCK_PREFIXES = {
    "visual.transformer.resblocks.": "vision_model.encoder.layers.",
    "transformer.resblocks.": "text_model.encoder.layers.",
}
LAYER_NAMES = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
PARAMETER_KINDS = ("weight", "bias")
TOWER_PREFIXES = ("vision_model.", "text_model.")
MAX_BLOCKS = 1000  # blocks of one tower; no CLIP has a tenth


def transformers_to_open_clip(tensors: Mapping[str, Tensor], /) -> dict[str, Tensor]:
    """A CLIPModel's state dict under open_clip's names, contiguous.

    Query, key and value become one matrix (3 W, W), and the projections are transposed. What needs no change is passed
    on, not copied. ``from_open_clip`` gives back the same bits.

    Raises:
        UnsupportedModel: names or shapes are not those of a CLIPModel.

    Example:
        >>> from clipclean.checkpoint import layouts
        >>> ours = layouts.transformers_to_open_clip(clip_model.state_dict())  # doctest: +SKIP
        >>> ours["visual.proj"].shape  # (width, embedding) # doctest: +SKIP
        torch.Size([768, 512])
    """
    plan = _plan_of_theirs(tensors)
    return {ours: _join(ours, {name: tensors[name] for name in sources}) for ours, sources in plan.items()}


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
    plan = _plan({ours: _depth(tensors, ours) for ours in BLOCK_PREFIXES})
    _refuse_others(tensors, list(plan), "The tensors are not those of an open_clip ViT that transformers can express")
    state_dict: dict[str, Tensor] = {}
    for ours, sources in plan.items():
        state_dict |= zip(sources, _split(ours, tensors[ours], len(sources)), strict=True)
    return state_dict


def _plan_of_theirs(names: Collection[str], /) -> dict[str, tuple[str, ...]]:
    """``_plan`` for a CLIPModel with exactly these names; raises UnsupportedModel."""
    plan = _plan({ours: _depth(names, theirs) for ours, theirs in BLOCK_PREFIXES.items()})
    expected = [name for sources in plan.values() for name in sources]
    _refuse_others(names, expected, "its tensors are not those of transformers' CLIPModel")
    return plan


def _plan(depths: Mapping[str, int], /) -> dict[str, tuple[str, ...]]:
    """For each of open_clip's names, the one name or the three names that transformers has in its place."""
    plan: dict[str, tuple[str, ...]] = {ours: (theirs,) for ours, theirs in (DIRECT_NAMES | PROJECTIONS).items()}
    for ours, depth in depths.items():
        for block in range(depth):
            our_block, their_block = f"{ours}{block}.", f"{BLOCK_PREFIXES[ours]}{block}."
            for kind in PARAMETER_KINDS:
                plan[f"{our_block}attn.in_proj_{kind}"] = tuple(
                    f"{their_block}self_attn.{part}_proj.{kind}" for part in "qkv"
                )
                plan |= {
                    f"{our_block}{our_layer}.{kind}": (f"{their_block}{their_layer}.{kind}",)
                    for our_layer, their_layer in LAYER_NAMES.items()
                }
    return plan


def _depth(names: Collection[str], prefix: str, /) -> int:
    """How many numbered blocks stand behind a prefix; at least one, so that a missing tower is noticed."""
    numbers = {name.removeprefix(prefix).partition(".")[0] for name in names if name.startswith(prefix)}
    return min(max(len({number for number in numbers if number.isdecimal()}), 1), MAX_BLOCKS)


def _refuse_others(names: Collection[str], expected: Collection[str], opening: str, /) -> None:
    """Refuse names that are missing or unknown; ``opening`` begins the message."""
    missing = [name for name in expected if name not in names]
    unknown = sorted(set(names).difference(expected))
    if missing or unknown:
        groups = ((missing, "missing"), (unknown, "unknown"))
        parts = "; ".join(f"{len(group)} {word} ({first_few(group)})" for group, word in groups if group)
        raise UnsupportedModel(
            f"{opening}: {parts}. Check that it is the whole model, not one tower, an adapter "
            "or another kind of model. SigLIP, ALIGN, AltCLIP, ChineseCLIP and the like are not handled."
        )


def _join(ours: str, parts: Mapping[str, Tensor], /) -> Tensor:
    """One tensor of open_clip from its parts."""
    first, *rest = parts.values()
    if rest:
        if first.ndim == 0 or any((part.shape, part.dtype) != (first.shape, first.dtype) for part in rest):
            raise UnsupportedModel(f"the shapes or dtypes of {first_few(parts)} differ, as in no CLIPModel.")
        return torch.cat([first, *rest])  # 3 x (W, W) -> (3 W, W)
    return _transpose(next(iter(parts)), first) if ours in PROJECTIONS else first.contiguous()


def _split(ours: str, tensor: Tensor, count: int, /) -> list[Tensor]:
    """The parts of one tensor of open_clip."""
    if ours in PROJECTIONS:
        return [_transpose(ours, tensor)]
    if ours in DIRECT_NAMES or count == 1:
        return [tensor.contiguous()]
    if tensor.ndim == 0 or len(tensor) % count:
        raise UnsupportedModel(f"{ours} of shape {tuple(tensor.shape)} does not hold query, key and value.")
    return list(tensor.contiguous().chunk(count))


def _transpose(name: str, tensor: Tensor, /) -> Tensor:
    if tensor.ndim != 2:
        raise UnsupportedModel(f"{name!a} has the shape {tuple(tensor.shape)}, and a projection has two axes.")
    return tensor.T.contiguous()


WRAPPERS = ("state_dict", "model", "model_state_dict")
# An exponential moving average of the weights, kept beside them: opened by choice alone.
AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema")
MAX_WRAPPERS = 4  # inside each other
PREFIXES = ("module.", "_orig_mod.", "model.", "clip.")  # DistributedDataParallel, torch.compile, wrapping modules
PREFIX_PATTERN = re.compile(f"^(?:{'|'.join(map(re.escape, PREFIXES))})+")
# OpenAI's archives store settings and a mask beside the weights; the mask holds -inf and follows from the architecture.
DERIVED_NAMES = ("input_resolution", "context_length", "vocab_size", "attn_mask", "position_ids")
MAX_STRAYS = 8  # tensors beside a wrapper, such as a step or a temperature, that are no set of weights
MAX_TENSORS = 20_000
MAX_NAME = 512
OBJECT_WORDS = {
    "optimizer": "optimizer state",
    "scaler": "loss-scaler state",
    "args": "settings",
    "epoch": "the number of an epoch of training",
}
CONVERSION_ADVICE = "Convert it with its own library to a native open_clip CLIP first, if its architecture has one."
FOREIGN_MODELS = {
    "logit_bias": f"a SigLIP model: it is trained with a sigmoid loss, not as CLIP is. {CONVERSION_ADVICE}",
    "visual.trunk.": f"an open_clip model with a timm image tower, not a native ViT or ResNet. {CONVERSION_ADVICE}",
    "text_decoder.": f"a CoCa model, which has a text decoder beside the two towers. {CONVERSION_ADVICE}",
    "text.transformer.": f"an open_clip model with a Hugging Face text tower. {CONVERSION_ADVICE}",
    "visual.attn_pool.": f"an open_clip model whose image tower pools by attention. {CONVERSION_ADVICE}",
}
NATIVE_TEXT = "text.transformer.resblocks."


class Library(NamedTuple):
    """How a library calls the tensors of a CLIP."""

    is_named_so: Callable[[Collection[str]], bool]
    to_open_clip: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    # Raises UnsupportedModel for names that are not exactly these; without it the model itself says so, where it is built.
    check_names: Callable[[Collection[str]], object] | None = None
    note: str = ""  # what is told of the change


LIBRARIES = {  # the first counts by whose names tensors are called
    "transformers": Library(
        lambda names: any(name.startswith(TOWER_PREFIXES) for name in names),
        transformers_to_open_clip,
        _plan_of_theirs,
        "renamed from transformers' CLIPModel; query, key and value joined, projections transposed",
    ),
    "open_clip": Library(lambda names: True, dict),
}


def library_of(names: Collection[str], /) -> str:
    """The library by whose names tensors are called, a key of ``LIBRARIES``."""
    return next(name for name, library in LIBRARIES.items() if library.is_named_so(names))


@dataclass(frozen=True)
class Weights:
    """The chosen tensors by name."""

    tensors: dict[str, TensorRef]
    producer: str  # who seems to have written them
    notes: tuple[str, ...]  # what was left out
    library: str  # by whose names the tensors are called: a key of ``LIBRARIES``
    wrappers: tuple[str, ...]  # under which keys they stand
    others: tuple[str, ...] = ()  # under which keys further sets of weights stand, whole or in part


def weights(root: object, /, *, choice: str | None) -> Weights:
    """Choose, unwrap and strip prefixes.

    ``choice`` is the wrapper to open, ``ema`` for whatever holds averaged weights, or None for the usual ones.

    Raises:
        UsageError: there is no wrapper of the chosen name.
        RefusedInput: there are no weights, or their names cannot be read.
        UnsafeCheckpoint: a name appears twice, or a weight is no plain tensor.
        UnsupportedModel: the names are those of another kind of model than a native CLIP.
    """
    notes: list[str] = []
    mapping, wrappers, producer = _unwrap(root, notes, choice)
    tensors = _without_prefixes(_tensors(mapping, notes), notes)
    derived_values = {name: ref for name, ref in tensors.items() if name.rpartition(".")[2] in DERIVED_NAMES}
    if derived_values:
        notes.append(f"dropped values that follow from the architecture: {first_few(derived_values)}")
    parameters = {name: ref for name, ref in tensors.items() if name not in derived_values}
    refuse_foreign(parameters)
    if not parameters:
        raise RefusedInput("it holds no weights, only values that follow from the architecture.")
    library = LIBRARIES[library_name := library_of(parameters)]
    if library.check_names:
        library.check_names(parameters)
    notes += [library.note] if library.note else []
    return Weights(parameters, producer, tuple(notes), library_name, wrappers, _other_sets(root, mapping, parameters))


def _other_sets(root: object, mapping: Pairs, parameters: Mapping[str, TensorRef], /) -> tuple[str, ...]:
    """The dotted keys of further mappings that look like weights: by a name that the chosen ones have too, or by many tensors."""
    paths: list[str] = []
    pending: list[tuple[str, object]] = [("", root)]
    visited_ids = {id(mapping)}
    while pending and len(visited_ids) <= MAX_TENSORS:
        path, value = pending.pop()
        if isinstance(value, Pairs) and id(value) not in visited_ids:
            names = [
                key for key, item in value.items if isinstance(key, str) and isinstance(item, TensorRef | OddTensor)
            ]
            if len(names) > MAX_STRAYS or any(PREFIX_PATTERN.sub("", name) in parameters for name in names):
                paths.append(path or "its top")
        if isinstance(value, Pairs | list | tuple) and (value is mapping or id(value) not in visited_ids):
            visited_ids.add(id(value))
            inner = value.items if isinstance(value, Pairs) else enumerate(value)
            pending += [(f"{path}.{key}".lstrip("."), item) for key, item in inner if isinstance(key, str | int)]
    return tuple(sorted(paths))


def refuse_foreign(names: Collection[str], /) -> None:
    """Raise UnsupportedModel, by name, for tensors of other towers than open_clip's own."""
    for prefix, words in FOREIGN_MODELS.items():
        if any(name.startswith(prefix) and not name.startswith(NATIVE_TEXT) for name in names):
            raise UnsupportedModel(f"it is {words}")


def _unwrap(root: object, notes: list[str], choice: str | None, /) -> tuple[Pairs, tuple[str, ...], str]:
    """The mapping that holds the weights, from below its wrappers."""
    if not isinstance(root, Pairs):
        raise RefusedInput("its top value is not a mapping of names to tensors. Save model.state_dict() and try again.")
    mapping = root
    choices = AVERAGES if choice == "ema" else (choice,) if choice is not None else ()
    path: list[str] = []
    holders: list[str] = []
    first_keys = {key for key, _ in mapping.items if isinstance(key, str)}
    while True:
        keys = [key for key, _ in mapping.items if isinstance(key, str)]
        if duplicates := [key for key, count in Counter(keys).items() if count > 1]:
            raise UnsafeCheckpoint(f"it holds {quoted(duplicates[0])} twice; readers differ in which one they use.")
        mappings = {key: value for key, value in mapping.items if isinstance(key, str) and isinstance(value, Pairs)}
        if unreadable := [
            key for key, value in mapping.items if key in WRAPPERS and isinstance(value, DroppedObject | list | tuple)
        ]:
            raise UnsafeCheckpoint(
                f"what it holds under {first_few(unreadable)} is no plain mapping, and so not read here, while other readers may take it for the "
                "weights. Save model.state_dict() there, or leave it out."
            )
        holders += [key for key, value in mappings.items() if _holds_tensors(value)]
        is_pending = not set(path).intersection(choices)
        chosen_key = next((key for key in choices if key in mappings), None) if is_pending else None
        if chosen_key is None:
            _refuse_several(mapping, mappings)
        wrapper = chosen_key or next((key for key in WRAPPERS if key in mappings), None)
        if wrapper is None or len(path) == MAX_WRAPPERS:
            break
        _note_skipped([(key, value) for key, value in mapping.items if key != wrapper], notes)
        path.append(wrapper)
        mapping = mappings[wrapper]
    if choices and not set(path).intersection(choices):
        raise UsageError(
            f"--weights {choice}: it has no such weights; what holds tensors is {first_few(holders) or 'none of its keys'}."
        )
    averages = [key for key, value in mapping.items if key in AVERAGES and isinstance(value, Pairs)]
    if averages and not _holds_tensors(mapping):
        raise RefusedInput(
            f"it holds averaged weights alone, under {first_few(averages)}. If you mean those: --weights ema."
        )
    return mapping, tuple(path), _producer(path, first_keys)


def _refuse_several(mapping: Pairs, mappings: dict[str, Pairs], /) -> None:
    """Refuse several sets of weights at one place, none of which was chosen: libraries differ in which one they use."""
    sets = [key for key in WRAPPERS if key in mappings and _holds_tensors_within(mappings[key])]
    at_top = [key for key, value in mapping.items if isinstance(value, TensorRef | OddTensor)]
    # A pickle may hold any key, also one that cannot be hashed.
    within = {name for key in sets for name, _ in mappings[key].items if isinstance(name, str)}
    is_set = bool(sets) and (len(at_top) > MAX_STRAYS or any(key in within for key in at_top if isinstance(key, str)))
    if len(sets) + is_set > 1:
        beside = f", and {len(at_top):,} tensors beside" if is_set else ""
        raise UnsafeCheckpoint(
            f"it holds several sets of weights, under {first_few(sets)}{beside}; libraries differ in which one they use. "
            "Say which by --weights NAME, or save one alone."
        )


def _holds_tensors_within(mapping: Pairs, /) -> bool:
    """Whether there are tensors in a mapping, or in the wrappers within it."""
    level = [mapping]
    for _ in range(MAX_WRAPPERS):
        if any(map(_holds_tensors, level)):
            return True
        level = [value for outer in level for key, value in outer.items if key in WRAPPERS and isinstance(value, Pairs)]
    return False


def _holds_tensors(mapping: Pairs, /) -> bool:
    return any(isinstance(value, TensorRef | OddTensor) for _, value in mapping.items)


def _producer(path: list[str], keys: set[str], /) -> str:
    """Who writes files with these keys, in words."""
    if not path:
        return "bare state dict"
    if "pytorch-lightning_version" in keys:
        return "PyTorch Lightning checkpoint"
    if path == ["state_dict"] and keys >= {"epoch", "name", "optimizer"}:
        return "open_clip training checkpoint" if "scaler" in keys else "open_clip or CleanCLIP training checkpoint"
    return f"state dict under {'.'.join(path)}"


def _note_skipped(items: list[tuple[object, object]], notes: list[str], /) -> None:
    """One note for each kind of what is left out."""
    kinds: dict[str, list[object]] = {}
    for key, value in items:
        kinds.setdefault(_kind_words(key, value), []).append(key)
    notes.extend(f"left out {first_few(keys)}: {kind}" for kind, keys in kinds.items())


def _tensors(mapping: Pairs, notes: list[str], /) -> dict[str, TensorRef]:
    """The tensors of a mapping, with names that can be printed."""
    tensors: dict[str, TensorRef] = {}
    skipped_items: list[tuple[object, object]] = []
    for name, value in mapping.items:
        if isinstance(value, OddTensor) and value.kind == UNUSUAL_DTYPE:
            raise UnsupportedModel(
                f"{quoted(name)} holds numbers of a format that clipclean does not read, such as 8-bit floats or unsigned "
                "integers of 16 bits and more. Convert the weights to float16, bfloat16 or float32 first."
            )
        if isinstance(value, OddTensor):
            raise UnsafeCheckpoint(f"{quoted(name)} is a {value.kind} tensor; clipclean reads dense tensors alone.")
        if not isinstance(value, TensorRef):
            if not isinstance(value, bool | None):  # each TorchScript module has such flags
                skipped_items.append((name, value))
            continue
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise UnsafeCheckpoint(f"a tensor has the name {quoted(name)}, which no model gives.")
        tensors[name] = value
    if not tensors:
        raise RefusedInput(
            f"it holds no tensors at its top or under {', '.join(WRAPPERS)}; its keys are "
            f"{first_few([key for key, _ in mapping.items]) or 'none'}. Save model.state_dict() and try again."
        )
    if len(tensors) > MAX_TENSORS:
        raise RefusedInput(f"it holds {len(tensors):,} tensors, more than any CLIP ({MAX_TENSORS:,}).")
    _note_skipped(skipped_items, notes)
    return tensors


def _without_prefixes(tensors: dict[str, TensorRef], notes: list[str], /) -> dict[str, TensorRef]:
    """Strip the prefixes that every name shares, outermost first."""
    full_prefix = ""
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) and name != p for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): ref for name, ref in tensors.items()}
        full_prefix += prefix
    if full_prefix:
        notes.append(f"removed the prefix {full_prefix!r} from every name")
    return tensors


def _kind_words(key: object, value: object, /) -> str:
    """The kind of a skipped value, in a few words."""
    if isinstance(key, str) and key in OBJECT_WORDS:
        return OBJECT_WORDS[key]
    if isinstance(key, str) and key in AVERAGES and isinstance(value, Pairs):
        return "averaged weights, which --weights ema reads"
    if isinstance(value, DroppedObject):
        return value.kind
    if isinstance(value, str | int | float | None):
        return "a single value, no weights"
    kinds = {Pairs: "a mapping", list: "a list", tuple: "a tuple", TensorRef: "a tensor", Module: "a module"}
    return kinds.get(type(value), "another value")
