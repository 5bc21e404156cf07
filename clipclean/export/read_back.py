"""The child process of the parity check: embeds with the other library alone."""

import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import numpy as np
import torch

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Array = np.ndarray[Any, np.dtype[Any]]  # rows of pixels, token ids or embeddings
Arrays = Mapping[str, Array]  # the content of an npz
BATCH_SIZES = (1, 2, 3)  # then whatever is left: a graph that fits one size alone is noticed


class ReaderAnswer(TypedDict):
    """A library's output for the inputs: embeddings (N, D) and (M, D), its name with its version, perhaps its own token ids."""

    images: Array
    texts: Array
    reader: str
    tokens: NotRequired[Array]


def main(library: str, folder: str, inputs_path: str, outputs_path: str, /, *arguments: str) -> None:
    """Embed ``pixels`` and ``tokens`` of the npz ``inputs_path``, write ``images`` and ``texts`` to the npz ``outputs_path``."""
    # Before any library is imported: nothing is looked up on a hub.
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    with np.load(inputs_path, allow_pickle=False) as inputs, torch.no_grad():
        np.savez(outputs_path, **READERS[library](Path(folder), inputs, *arguments))


def open_clip(folder: Path, inputs: Arrays, /) -> ReaderAnswer:
    """``local-dir:folder``, as open_clip loads it."""
    import open_clip

    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    return {
        "images": embed_in_batches(lambda part: model.encode_image(torch.from_numpy(part)).numpy(), inputs["pixels"]),
        "texts": embed_in_batches(lambda part: model.encode_text(torch.from_numpy(part)).numpy(), inputs["tokens"]),
        "reader": f"open_clip {open_clip.__version__}",
    }


def transformers(folder: Path, inputs: Arrays, /) -> ReaderAnswer:
    """``CLIPModel`` and ``CLIPProcessor``; ``tokens`` are the processor's own for the captions."""
    library: Any = importlib.import_module("transformers")  # optional, and without types for its parts

    model = library.CLIPModel.from_pretrained(folder).eval()
    processor = library.CLIPProcessor.from_pretrained(folder)
    captions = json.loads(bytes(inputs["captions"]))
    tokens = processor.tokenizer(
        captions, padding="max_length", truncation=True, max_length=inputs["tokens"].shape[1], return_tensors="np"
    )
    return {
        "images": embed_in_batches(
            lambda part: embeddings(model.get_image_features(torch.from_numpy(part))), inputs["pixels"]
        ),
        "texts": embed_in_batches(
            lambda part: embeddings(model.get_text_features(torch.from_numpy(part))), inputs["tokens"]
        ),
        "tokens": tokens["input_ids"],
        "reader": f"transformers {library.__version__}",
    }


def embeddings(features: Any, /) -> Array:  # Any: the library has no types for its parts
    """The array in what ``get_*_features`` returns: a tensor in transformers 4, an output with it in 5."""
    array: Array = getattr(features, "pooler_output", features).numpy()
    return array


def onnxruntime(folder: Path, inputs: Arrays, vision: str, text: str, /) -> ReaderAnswer:
    """The two graphs ``vision`` and ``text`` of the folder, on the CPU."""
    import onnxruntime as library

    sessions = [library.InferenceSession(folder / name, providers=["CPUExecutionProvider"]) for name in (vision, text)]
    return {
        "images": embed_in_batches(lambda part: run(sessions[0], part), inputs["pixels"]),
        "texts": embed_in_batches(lambda part: run(sessions[1], part), inputs["tokens"]),
        "reader": f"onnxruntime {library.__version__}",
    }


def run(session: "InferenceSession", batch: Array, /) -> Array:
    """The one output for the one input."""
    types = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
    (graph_input,) = session.get_inputs()
    array: Array = session.run(None, {graph_input.name: batch.astype(types[graph_input.type])})[0]
    return array


def embed_in_batches(embed: Callable[[Array], Array], rows: Array, /) -> Array:
    """Embed rows in batches of 1, 2, 3 and the rest; none is empty."""
    return np.concatenate([embed(part) for part in np.split(rows, np.cumsum(BATCH_SIZES)) if len(part)])


READERS: dict[str, Callable[..., ReaderAnswer]] = {
    "open_clip": open_clip,
    "transformers": transformers,
    "onnxruntime": onnxruntime,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
