"""Small honest files of every kind: what edits and bombs are made from."""

import io
import re
import warnings

import numpy as np
import torch
from hostile import checkpoints
from PIL import Image

NUMBERS = torch.arange(6.0)
WEIGHTS = {"module.a": NUMBERS.reshape(2, 3).T, "module.b": torch.ones(2).half()}


def torch_bytes(weights=WEIGHTS, **options):
    stream = io.BytesIO()
    torch.save({"epoch": 1, "state_dict": weights}, stream, **options)
    return stream.getvalue()


def legacy_bytes():
    """One storage, whose name is not the place in memory, of any length, that torch names it by: equal bytes in every process."""
    weights = {"module.a": NUMBERS.reshape(2, 3).T, "module.b": NUMBERS[:2]}
    made = torch_bytes(weights, _use_new_zipfile_serialization=False)
    return re.sub(rb"X.\0\0\0[0-9]{6,20}", b"X\x0e\0\0\0" + b"94" * 7, made, flags=re.DOTALL)


class Scaled(torch.nn.Module):
    """The smallest module with weights; torch writes the settings of its own in random order."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2, 2))

    def forward(self, x):
        return x * self.weight


def script_bytes():
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        torch.jit.save(torch.jit.script(Scaled()), stream)
    return stream.getvalue()


def image_bytes(seed=0, kind="PNG", size=(4, 3)):
    """An encoded random image of (width, height)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def sample(key="a", seed=0):
    """The members of one sample of a shard."""
    return {
        f"{key}.png": image_bytes(seed),
        f"{key}.txt": b"a red square",
        f"{key}.json": b'{"caption": "a red square", "label": 3}',
        f"{key}.cls": b"3",
    }


def pickle_bodies():
    """Pickles that weights are in, without their archive."""
    body = checkpoints.mapping({"a": checkpoints.GOOD, "b": checkpoints.tensor((2, 2), (1, 2))})
    module = checkpoints.name("__torch__", "M") + checkpoints.EMPTY_TUPLE + b"\x81" + body + b"b"
    return [
        checkpoints.pickled(checkpoints.mapping({"epoch": checkpoints.whole(3), "state_dict": body})),
        checkpoints.pickled(body),
        checkpoints.pickled(module),
    ]
