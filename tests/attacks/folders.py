"""Safetensors files and folders of transformers built part by part, with some parts changed."""

import functools
import io
import json
import random

import safetensors.torch
import torch
from hostile import checkpoints

DTYPES = {
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F64": 8,
    "I64": 8,
    "I32": 4,
    "U8": 1,
    "BOOL": 1,
    "I16": 2,
    "F8_E4M3": 1,
    "f32": 4,
}
ODD = (None, True, False, 0, -1, 4, 4.0, "4", "F32", [], [4], {}, 2**63, 2**64, -0.0, [[4]], "", "a")
CONFIG = {
    "model_type": "clip",
    "projection_dim": 4,
    "text_config": {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1},
    "vision_config": {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1},
}
CONFIG["text_config"] |= {"vocab_size": 9, "max_position_embeddings": 5, "eos_token_id": 8}  # type: ignore[index, operator] # a dict
CONFIG["vision_config"] |= {"image_size": 8, "patch_size": 4}  # type: ignore[index, operator] # a dict
INDEX, WHOLE, SHARDS = "model.safetensors.index.json", "model.safetensors", ("a.safetensors", "b.safetensors")


def safetensors_file(draw: random.Random, /) -> bytes:
    """A file with up to four tensors, whose header is changed now and then."""
    entries: list[tuple[str, object]] = []
    at = 0
    for name in draw.sample(("a", "b", "c", "d.weight", "é"), draw.randint(1, 4)):
        dtype = draw.choice([*DTYPES][:8])
        shape = draw.choice(((2,), (1, 2), (), (0,), (4, 2), (2, 0, 3)))
        size = functools.reduce(lambda a, b: a * b, shape, DTYPES[dtype])
        entries.append((name, {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}))
        at += size
    draw.shuffle(entries)
    for _ in range(draw.choice((0, 0, 1, 1, 2))):
        _edit_header(draw, entries)
    if draw.random() < 0.3:
        told = draw.choice(({"format": "pt"}, {}, {"a": draw.choice(ODD)}, draw.choice(ODD)))
        entries.insert(draw.randrange(len(entries) + 1), ("__metadata__", told))
    header = (
        "{" + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{json.dumps(entry)}" for name, entry in entries) + "}"
    )
    if draw.random() < 0.2:
        header = draw.choice(
            (header + " " * draw.randint(1, 9), header.replace("0", "-0", 1), header.replace("4", "4e0", 1))
        )
        header = draw.choice((header, " " + header, header.replace("[", "[ ", 1), header.replace("a", "\\u0061", 1)))
    size = at + (draw.choice((-1, 1, 8)) if draw.random() < 0.05 else 0)
    return checkpoints.safetensors(header.encode(), bytes(draw.randrange(2) for _ in range(max(size, 0))))


def _edit_header(draw: random.Random, entries: list[tuple[str, object]]) -> None:
    place = draw.randrange(len(entries))
    name, entry = entries[place]
    changed = dict(entry) if isinstance(entry, dict) else {}
    edit = draw.randrange(6)
    if edit == 0:
        changed["dtype"] = draw.choice([*DTYPES, *ODD])
    elif edit == 1:
        changed["shape"] = draw.choice(([2], [1, 2], [4], [2, 1], [], [0], *ODD, [draw.choice(ODD)], [1] * 9))
    elif edit == 2:
        changed["data_offsets"] = draw.choice(
            ([0, 8], [8, 16], [0, 0], [8, 0], *ODD, [0, draw.choice(ODD)], [0, 8, 16])
        )
    elif edit == 3:
        changed[draw.choice(("x", "Dtype", "dtype"))] = draw.choice(ODD)
    elif edit == 4:
        changed.pop(draw.choice(("dtype", "shape", "data_offsets")), None)
    else:
        name = draw.choice((entries[0][0], "a", "b", "\0", "x" * 600))
    entries[place] = (name, changed)


@functools.cache
def _weights() -> dict[str, torch.Tensor]:
    """The tensors of a tiny CLIPModel, under transformers' names; made without that library."""
    shapes: dict[str, tuple[int, ...]] = {
        "logit_scale": (),
        "visual_projection.weight": (4, 8),
        "text_projection.weight": (4, 8),
    }
    shapes |= {
        "text_model.embeddings.token_embedding.weight": (9, 8),
        "text_model.embeddings.position_embedding.weight": (5, 8),
    }
    vision = "vision_model.embeddings."
    shapes |= {f"{vision}class_embedding": (8,), f"{vision}position_embedding.weight": (5, 8)}
    shapes |= {f"{vision}patch_embedding.weight": (8, 3, 4, 4)}
    norms = ("vision_model.pre_layrnorm", "vision_model.post_layernorm", "text_model.final_layer_norm")
    layers = [f"{tower}_model.encoder.layers.0." for tower in ("text", "vision")]
    norms += tuple(f"{layer}layer_norm{number}" for layer in layers for number in (1, 2))
    shapes |= {f"{norm}.{kind}": (8,) for norm in norms for kind in ("weight", "bias")}
    linear = {f"{layer}self_attn.{part}_proj": (8, 8) for layer in layers for part in ("q", "k", "v", "out")}
    linear |= {f"{layer}mlp.fc1": (16, 8) for layer in layers} | {f"{layer}mlp.fc2": (8, 16) for layer in layers}
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    numbers = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=numbers) for name, shape in shapes.items()}


def folder(draw: random.Random, /) -> bytes:
    """A zipped folder of transformers, whole or in two shards, with up to two changes."""
    tensors = dict(_weights())
    config = json.loads(json.dumps(CONFIG))
    if draw.random() < 0.2:
        tensors = {name: tensor.half() for name, tensor in tensors.items()}
        config["dtype"] = "float16"
    names = sorted(tensors)
    placed = {name: draw.choice(SHARDS) for name in names}
    held = {shard: {name: tensors[name] for name in names if placed[name] == shard} for shard in SHARDS}
    is_sharded = draw.random() < 0.7
    files: dict[str, bytes] = {}
    for _ in range(draw.choice((0, 1, 1, 2))):
        _edit_folder(draw, config, tensors, placed, held, files)
    if is_sharded:
        files |= {shard: safetensors.torch.save(held[shard], metadata={"format": "pt"}) for shard in SHARDS}
        files[INDEX] = json.dumps({"metadata": {}, "weight_map": placed}).encode()
    else:
        files[WHOLE] = safetensors.torch.save(tensors, metadata={"format": "pt"})
    return checkpoints.zipped({"config.json": json.dumps(config).encode()} | files)


def _edit_folder(
    draw: random.Random,
    config: dict[str, object],
    tensors: dict[str, torch.Tensor],
    placed: dict[str, str],
    held: dict[str, dict[str, torch.Tensor]],
    files: dict[str, bytes],
) -> None:
    """One change: a tensor in another shard, another place in the index, other values, further weights, another configuration."""
    name, (here, there) = draw.choice(sorted(tensors)), draw.sample(SHARDS, 2)
    edit = draw.randrange(9)
    if edit == 0:
        placed[name] = draw.choice((here, "c.safetensors", f"./{here}", WHOLE))
    elif edit == 1:
        held[here][name] = tensors[name] + 1
    elif edit == 2:
        held[here].pop(name, None)
    elif edit == 3:
        held[there][f"{name}.x"] = placed_value = torch.ones(2)
        tensors[f"{name}.x"] = placed_value
    elif edit == 4:
        further = {key: value + draw.choice((0, 1)) for key, value in tensors.items()}
        files[draw.choice((WHOLE, "pytorch_model.bin", "open_clip_model.safetensors"))] = safetensors.torch.save(
            further
        )
    elif edit == 5:
        stream = io.BytesIO()
        torch.save({key: value + draw.choice((0, 1)) for key, value in tensors.items()}, stream)
        files["pytorch_model.bin"] = stream.getvalue()
    elif edit == 6:
        tower = config[draw.choice(("text_config", "vision_config"))]
        key, value = draw.choice((("num_hidden_layers", 2), ("hidden_size", 16), ("num_attention_heads", 2)))
        tower[key] = value  # type: ignore[index] # a dict
    elif edit == 7:
        prefix = draw.choice(("model.", "clip.", "module."))
        for mapping in (tensors, placed, *held.values()):
            renamed = {f"{prefix}{key}": value for key, value in mapping.items()}  # type: ignore[attr-defined] # all are dicts
            mapping.clear()  # type: ignore[attr-defined]
            mapping.update(renamed)  # type: ignore[attr-defined]
    else:
        odd = draw.choice(
            (("architectures", ["CLIPTextModel"]), ("tie_word_embeddings", True), ("model_type", "siglip"))
        )
        config[odd[0]] = odd[1]
