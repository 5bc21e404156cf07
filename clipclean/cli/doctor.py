"""``clipclean doctor``: checks this machine and installation."""

import contextlib
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

from clipclean import __version__
from clipclean.cli import printing
from clipclean.cli.command import Nothing, command_of
from clipclean.cli.options import Shell
from clipclean.errors import ClipcleanError

EPILOG = "\b\nExamples:\n  clipclean doctor\n  clipclean doctor --json > machine.json"

PACKAGES = {  # distribution, and what it is for
    "open_clip_torch": "architectures and tokenizers",
    "pillow": "images",
    "nltk": "synonyms",
    "onnx": "--format onnx",
    "onnxscript": "--format onnx",
    "onnxruntime": "--format onnx, compared with the original",
    "transformers": "--format hf, read back by its own library",
    "safetensors": "writing weights",
    "scikit-learn": "the map of embeddings",
    "webdataset": "--data in tar shards",
    "pyarrow": "--data in Parquet and Arrow",
    "huggingface_hub": "models and data by hub names",
    "model-signing": "signatures, by the extra signing",
    "tensorboard": "--log-to tensorboard, by the extra tensorboard",
    "wandb": "--log-to wandb, by the extra wandb",
}
GIB = 2**30


@command_of(Nothing, "as_json", epilog=EPILOG)
def doctor(_: Nothing, shell: Shell) -> None:
    """Show the versions, devices, disk and bundled files of this machine and installation.

    Use it for a bug report, or to see why a run is slow. The exit code is always 0.
    """
    from torch.utils import collect_env

    here = shutil.disk_usage(Path.cwd()).free
    # It asks pip, and Python takes a module of that name from the current folder first: an empty one has none.
    with tempfile.TemporaryDirectory(prefix="clipclean-doctor-") as empty, contextlib.chdir(empty):
        environment = collect_env.get_env_info()  # type: ignore[no-untyped-call] # torch leaves it unannotated
    versions = {name: _version(name) for name in PACKAGES}
    disk = {"here": here, "temporary": shutil.disk_usage(tempfile.gettempdir()).free}
    bundled = {"wordnet": wordnet(), "demo": demo()}
    told = {"clipclean": __version__, "versions": versions, "disk": disk, "bundled": bundled}
    rows = [
        ("clipclean", __version__),
        *((name, f"{version or 'not installed'} ({PACKAGES[name]})") for name, version in versions.items()),
        ("disk", f"{disk['here'] / GIB:.1f} GiB free here, {disk['temporary'] / GIB:.1f} GiB for temporary files"),
        ("WordNet", bundled["wordnet"]),
        ("demo files", bundled["demo"]),
    ]
    pretty = collect_env.pretty_str(environment)  # type: ignore[no-untyped-call] # the same
    words = "\n".join(f"{name:17}{text}" for name, text in rows) + f"\n\n{pretty}"
    printing.show(shell.as_json, told | {"environment": environment._asdict()}, words)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def wordnet() -> str:
    """``intact``, or what is wrong with the bundled synonyms."""
    from clipclean.data import dictionary

    try:
        dictionary.read()
    except ClipcleanError as error:
        return str(error)
    return "intact"


def demo() -> str:
    """``intact``, or what is wrong with the bundled model and images: all have checksums of their own."""
    import lzma

    from clipclean import checkpoint
    from clipclean import demo as bundled

    try:
        with tempfile.TemporaryDirectory(prefix="clipclean-doctor-") as scratch:
            bundled.unpack(Path(scratch))
            checkpoint.read(Path(scratch) / bundled.CHECKPOINT)
    except (ClipcleanError, lzma.LZMAError, EOFError) as error:
        return f"{error} Install clipclean again from your checkout."
    return "intact"
