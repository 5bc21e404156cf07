"""What torch, safetensors and transformers make of files, in a process without rights: reads file after file from a pipe.

It is run by ``attacks.oracle``, and never imported by clipclean. A question is a line of JSON, followed by the bytes of a file
(``size``); the answer is a line of JSON: for each way of loading the tensors as ``{name: [dtype, shape, SHA-256]}``, or why there are
none. The process has no home, an empty folder of its own, no right to another user's files, and little memory and time.
"""

import functools
import hashlib
import io
import json
import os
import resource
import shutil
import sys
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

Tensors = dict[str, list[object]]
NOBODY = 65534  # the number that Linux keeps for a user without rights
MEMORY = 2**31  # bytes that the process may take beside what its libraries take
BIGGEST_FILE = 2**20  # bytes that it may write into one file


def without_rights() -> None:
    """Give up what this process may do."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (BIGGEST_FILE, BIGGEST_FILE))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + MEMORY
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if os.geteuid() == 0:
        os.chown(".", NOBODY, NOBODY)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def described(value: Any) -> list[object]:
    """Dtype, shape and digest of the numbers of a tensor."""
    plain = value.detach().resolve_conj().resolve_neg().contiguous()
    flat = torch.empty(plain.numel(), dtype=plain.dtype).copy_(
        plain.reshape(-1)
    )  # of stride one, whatever the view had
    numbers = flat.view(torch.uint8).numpy().tobytes()
    return [str(value.dtype).removeprefix("torch."), list(value.shape), hashlib.sha256(numbers).hexdigest()]


def tensors(mapping: Any) -> Tensors:
    """What a state dict gives to who asks it for its items."""
    return {str(name): described(value) for name, value in mapping.items() if isinstance(value, torch.Tensor)}


def of_torch(content: bytes, wrappers: Sequence[str], *, weights_only: bool = True) -> Tensors:
    """What ``torch.load`` makes of it, below these keys."""
    value = torch.load(io.BytesIO(content), map_location="cpu", weights_only=weights_only)  # noqa: TID251 # that is what is asked
    for key in wrappers:
        value = value[key]
    return tensors(value)


def of_torchscript(content: bytes, _wrappers: Sequence[str]) -> Tensors:
    """What ``torch.jit.load`` makes of it, whose code it runs: that of an archive that this test has built."""
    return tensors(torch.jit.load(io.BytesIO(content), map_location="cpu").state_dict())  # noqa: TID251 # as above


def of_safetensors(content: bytes, _wrappers: Sequence[str]) -> Tensors:
    """What the safetensors library makes of it."""
    return tensors(safetensors.torch.load(content))


def of_transformers(content: bytes, _wrappers: Sequence[str]) -> Tensors:
    """What ``from_pretrained`` makes of the files in a zip archive."""
    from transformers import CLIPModel

    folder = Path("model")
    shutil.rmtree(folder, ignore_errors=True)
    zipfile.ZipFile(io.BytesIO(content)).extractall(folder)
    model, info = CLIPModel.from_pretrained(folder, local_files_only=True, output_loading_info=True, dtype="auto")
    if wrong := {key: sorted(map(str, value)) for key, value in info.items() if value}:
        raise ValueError(f"not loaded as it stands: {wrong}")
    return tensors(model.state_dict())


def honest(way: str) -> list[bytes]:
    """Files that a way of loading reads: what a library imports late is imported with them, while that may still be read."""
    if way == "transformers":
        return [transformers_folder()]
    stream, state = io.BytesIO(), {"a": torch.ones(2)}
    if way == "safetensors":
        return [safetensors.torch.save(state)]
    if way == "torchscript":
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), stream)
        return [stream.getvalue()]
    legacy = io.BytesIO()
    torch.save(state, stream)
    torch.save(state, legacy, _use_new_zipfile_serialization=False)
    return [stream.getvalue(), legacy.getvalue()]


def transformers_folder() -> bytes:
    """A tiny model of transformers, as a zip archive."""
    from transformers import CLIPConfig, CLIPModel

    tower = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    text, vision = tower | {"vocab_size": 9, "eos_token_id": 8}, tower | {"image_size": 8, "patch_size": 4}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=4)).save_pretrained("model")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path in Path("model").iterdir():
            archive.write(path, path.name)
    shutil.rmtree("model")
    return stream.getvalue()


WAYS: dict[str, Callable[[bytes, Sequence[str]], Tensors]] = {
    "torch": of_torch,
    "torch, all of pickle": functools.partial(of_torch, weights_only=False),
    "torchscript": of_torchscript,
    "safetensors": of_safetensors,
    "transformers": of_transformers,
}


def answered(way: Callable[[bytes, Sequence[str]], Tensors], content: bytes, wrappers: Sequence[str]) -> Tensors | str:
    """The tensors, or why there are none."""
    try:
        return way(content, wrappers)
    except MemoryError:
        return "refused: memory"
    except Exception as error:  # whatever a library raises, it did not load the file
        return f"refused: {type(error).__name__}: {str(error)[:200]}"


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    ways = sys.argv[1:]
    examples = [(way, content) for way in ways for content in honest(way)]
    for way, content in examples:
        WAYS[way](content, ())
    shutil.rmtree("model", ignore_errors=True)
    without_rights()
    for way, content in examples:
        WAYS[way](content, ())  # one that could read nothing any more would agree with everything
    for line in questions:
        question = json.loads(line)
        content = questions.read(question["size"])
        told = {way: answered(WAYS[way], content, question["wrappers"]) for way in question["ways"]}
        answers.write(json.dumps(told) + "\n")
        answers.flush()
    shutil.rmtree(Path.cwd(), ignore_errors=True)  # its home


if __name__ == "__main__":
    main()
