"""The commands about this machine: ``clipclean doctor`` checks it, ``clipclean runs`` lists what interrupted runs have kept on it."""

import contextlib
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

import click

from clipclean import __version__, own_state
from clipclean.cli import printing
from clipclean.cli.command import Command, CommandGroup, as_json_option
from clipclean.errors import ClipcleanError, UsageError
from clipclean.untrusted import plural, printable

PURPOSES = {  # distribution, and what it is for
    "open_clip_torch": "architectures and tokenizers",
    "pillow": "images",
    "nltk": "synonyms",
    "onnx": "--format onnx",
    "onnxscript": "--format onnx",
    "onnxruntime": "--format onnx, by the extra onnx",
    "transformers": "--format hf, read back by its own library",
    "safetensors": "writing weights",
    "scikit-learn": "the map of neighbours in a report, by the extra maps",
    "webdataset": "--data in tar shards",
    "pyarrow": "--data in Parquet and Arrow, by the extra parquet",
    "huggingface_hub": "models and data by hub names",
    "model-signing": "signatures, by the extra signing",
    "tensorboard": "--log-to tensorboard, by the extra tensorboard",
    "wandb": "--log-to wandb, by the extra wandb",
}
MIB, GIB = 2**20, 2**30


@click.command(cls=Command, examples=("doctor", "doctor --json > machine.json"))
@as_json_option
def doctor(as_json: bool) -> None:
    """Show the versions, devices, disk and bundled files of this machine and installation.

    Use it for a bug report, or to see why a run is slow. The exit code is always 0.
    """
    from torch.utils import collect_env

    here = shutil.disk_usage(Path.cwd()).free
    # It asks pip, and Python takes a module of that name from the current folder first: an empty one has none.
    with tempfile.TemporaryDirectory(prefix="clipclean-doctor-") as empty, contextlib.chdir(empty):
        environment = collect_env.get_env_info()  # type: ignore[no-untyped-call] # torch leaves it unannotated
    versions = {
        name: next((distribution.version for distribution in metadata.distributions(name=name)), None)
        for name in PURPOSES
    }
    disk = {"here": here, "temporary": shutil.disk_usage(tempfile.gettempdir()).free}
    bundled = {"wordnet": wordnet(), "demo": demo()}
    facts = {"clipclean": __version__, "versions": versions, "disk": disk, "bundled": bundled}
    rows = [
        ("clipclean", __version__),
        *((name, f"{version or 'not installed'} ({PURPOSES[name]})") for name, version in versions.items()),
        ("disk", f"{disk['here'] / GIB:.1f} GiB free here, {disk['temporary'] / GIB:.1f} GiB for temporary files"),
        ("WordNet", bundled["wordnet"]),
        ("demo files", bundled["demo"]),
    ]
    pretty = collect_env.pretty_str(environment)  # type: ignore[no-untyped-call] # the same
    words = "\n".join(f"{name:17}{text}" for name, text in rows) + f"\n\n{pretty}"
    printing.show(as_json, facts | {"environment": environment._asdict()}, words)


def wordnet() -> str:
    """``intact``, or what is wrong with the bundled synonyms."""
    from clipclean.data import dictionary

    try:
        dictionary.read()
    except ClipcleanError as error:
        return str(error)
    return "intact"


def demo() -> str:
    """``intact``, or what is wrong with the bundled models and images: all have checksums of their own."""
    import lzma

    from clipclean import checkpoint
    from clipclean import demo as bundled

    try:
        with tempfile.TemporaryDirectory(prefix="clipclean-doctor-") as scratch:
            bundled.unpack(Path(scratch), pair=True)
            for name in (bundled.CHECKPOINT, bundled.BASE, bundled.FINETUNE):
                checkpoint.read(Path(scratch) / name)
    except (ClipcleanError, lzma.LZMAError, EOFError) as error:
        return f"{error} Install clipclean again from your checkout."
    return "intact"


@click.group(cls=CommandGroup)
def runs() -> None:
    """List or remove what interrupted runs have kept, so that the same command goes on."""


@runs.command("list", examples=("runs list", "runs list --json"))
@as_json_option
def list_runs(as_json: bool) -> None:
    """Show what runs have kept, the newest first: time, size, and the command that goes on in the same folder.

    An interrupted run goes on by its command. One that ended without weights is kept for --keep-failed --force, which then
    need not clean again.

    They lie in ~/.local/state/clipclean; XDG_STATE_HOME or CLIPCLEAN_STATE name another folder.
    """
    kept_runs = own_state.saved_states()
    rows = [run._asdict() | {"folder": str(run.folder), "written": run.written.isoformat()} for run in kept_runs]
    kinds = {False: "interrupted", True: "finished"}
    lines = [
        f"{run.written:%Y-%m-%d %H:%M}  {kinds[run.finished]:<11}  {run.size / MIB:>8,.1f} MiB  {printable(run.command)}"
        for run in kept_runs
    ]
    ended = sum(run.finished for run in kept_runs)
    counts = f"{plural(len(kept_runs) - ended, 'interrupted run')}{f' and {ended} finished' if ended else ''}"
    lines.append(f"{counts} in {printable(own_state.home())}")
    printing.show(as_json, rows, "\n".join(lines))


@runs.command(examples=("runs clear",))
def clear() -> None:
    """Remove what interrupted runs have kept. A cleaning in progress and everything else in that folder stay."""
    from clipclean.train import RunState

    removed = 0
    for run in own_state.saved_states():
        try:
            is_cleaning = run.folder.parent.name == own_state.RUNS  # an audit goes on without its state
            with own_state.locked(run.folder) if is_cleaning else contextlib.nullcontext():
                RunState(run.folder, "").discard()
        except UsageError:  # it is in progress
            continue
        removed += not run.folder.exists()
    click.echo(f"{plural(removed, 'interrupted run')} removed")
