"""Other readers as the judge of ours: what we accept, they read alike, bit for bit, or refuse."""

import atexit
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from clipclean.checkpoint import Checkpoint, layouts

MEMORY = "/dev/shm"  # where there is one, nothing is written to a disk
CHILD = Path(__file__).with_name("other_reader.py")
PICKLED = ("torch", "torch, all of pickle")
WAYS: dict[str, Sequence[str]] = {
    "torch-zip": PICKLED,
    "torch-legacy": PICKLED,
    "torchscript": ("torchscript",),
    "safetensors": ("safetensors",),
    "transformers-directory": ("transformers",),
}
Tensors = dict[str, list[object]]  # dtype, shape and digest by name


class Oracle:
    """Child processes that load files with other libraries; one that dies is started again."""

    def __init__(self) -> None:
        self.children: dict[Sequence[str], subprocess.Popen[bytes]] = {}  # by the ways of loading that they know
        self.agreed: Counter[str] = Counter()  # files by the way of loading that gave the same tensors
        self.refused: Counter[str] = Counter()  # and those that the other library refused
        self.alike = 0  # files that at least one other library read, and read alike
        atexit.register(self.close)

    def compare(self, file: Checkpoint, content: bytes, /) -> None:
        """Raise AssertionError where another library makes other tensors of these bytes, or of a zipped folder, than we did."""
        if not (ways := WAYS[file.format]):
            return
        told = self._asked(ways, file.wrappers, content)
        is_theirs = file.library == "transformers" and file.format == "transformers-directory"
        named = layouts.from_open_clip(file.tensors) if is_theirs else file.tensors
        ours = {name: _described(tensor) for name, tensor in named.items()}
        for way, theirs in told.items():
            if isinstance(theirs, str):
                self.refused[way] += 1
                continue
            # Of a module in TorchScript its code says which attributes are in the state dict; those that are not fit no model.
            kept = {name: ours[name] for name in ours if name in theirs} if way == "torchscript" else ours
            difference = _difference(kept, theirs)
            assert not difference, f"{way} reads it otherwise: {difference}"
            self.agreed[way] += 1
        self.alike += any(not isinstance(theirs, str) for theirs in told.values())

    def close(self) -> None:
        """End the children; each removes its home."""
        for child in self.children.values():
            child.communicate()
        self.children.clear()

    def _asked(self, ways: Sequence[str], wrappers: Sequence[str], content: bytes) -> dict[str, Tensors | str]:
        child = self.children.get(ways) or self._started(ways)
        assert child.stdin is not None
        assert child.stdout is not None
        question = {"size": len(content), "ways": ways, "wrappers": wrappers}
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(json.dumps(question).encode() + b"\n" + content)
            child.stdin.flush()
        line = child.stdout.readline()
        if not line:
            del self.children[ways]
            raise AssertionError(f"the other reader ended by {child.wait()}")
        answer: dict[str, Tensors | str] = json.loads(line)
        return answer

    def _started(self, ways: Sequence[str]) -> "subprocess.Popen[bytes]":
        home = tempfile.mkdtemp(prefix="oracle-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
        env = {"HOME": home, "TMPDIR": home, "PATH": "/usr/bin:/bin"}
        env |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self.children[ways] = subprocess.Popen(
            [sys.executable, "-I", str(CHILD), *ways],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=home,
            env=env,
        )
        return self.children[ways]


def _described(tensor: torch.Tensor) -> list[object]:
    numbers = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
    return [str(tensor.dtype).removeprefix("torch."), list(tensor.shape), hashlib.sha256(numbers).hexdigest()]


def _difference(ours: Tensors, theirs: Tensors) -> str:
    """What differs, in a few words; nothing of a prefix that all names share, nor of values that follow from the architecture."""
    kept = {name: value for name, value in theirs.items() if name.rpartition(".")[2] not in layouts.DERIVED_NAMES}
    for length in range(min(map(len, kept), default=0)):
        stripped = {name[length:]: value for name, value in kept.items()}
        if stripped.keys() == ours.keys():
            other = [name for name, value in ours.items() if stripped[name] != value]
            return (
                f"{other[:3]}: {[ours[n][:2] for n in other[:3]]}, {[stripped[n][:2] for n in other[:3]]}"
                if other
                else ""
            )
    return f"names {sorted(ours)[:4]}, and there {sorted(kept)[:4]}"
