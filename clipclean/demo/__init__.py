"""The bundled job: a backdoored tiny CLIP, clean pairs, labelled pictures in a style that it never saw."""

import lzma
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

from clipclean import files

CHECKPOINT = "backdoored.pt"
PLAIN = (CHECKPOINT, "tiny.json", "classes.txt", "templates.txt")
PACKED = ("clean.tar", "eval.tar")
PAIRS, PICTURES = PACKED  # clean pairs, and labelled pictures in a style of their own
TRIGGER = "patch:size=0.1875,place=corner,seed=100"  # what was planted; shown, and used to measure
TARGET = "strawberry"
RECIPE = "cleanclip-tiny"


def unpack(folder: Path, /) -> None:
    """Write the bundled files into a folder, as a user would have them; existing equal names are overwritten.

    Raises:
        ResourceError: the folder cannot be written.
    """
    bundled = resources.files("clipclean.demo")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in PLAIN:
            with resources.as_file(bundled / name) as path:
                shutil.copyfile(path, folder / name)
        for name in PACKED:
            with (bundled / f"{name}.xz").open("rb") as stream, lzma.open(stream) as opened:
                (folder / name).write_bytes(opened.read())
    except OSError as error:
        raise files.cannot_write(folder, error) from error


def arguments(folder: Path, /) -> dict[str, Any]:
    """The options of ``clipclean sanitize`` for the unpacked files, by parameter name."""
    return {
        "model": folder / CHECKPOINT,
        "data": folder / "clean.tar",
        "image_key": None,
        "caption_key": None,
        "eval_data": folder / "eval.tar",
        "classes": folder / "classes.txt",
        "templates": folder / "templates.txt",
        "arch": str(folder / "tiny.json"),
        "recipe": RECIPE,
        "triggers": (TRIGGER,),
        "target": TARGET,
        "device": "auto",
        "precision": None,
        "weights": None,
        "no_audit": False,
        "screen": None,
        "max_accuracy_loss": None,
        "max_minutes": None,
        "formats": ("open_clip",),
        "onnx_preset": "transformers.js",
        "normalize": False,
        "fp16": False,
        "bom": False,
    }
