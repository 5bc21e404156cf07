"""Five runs that many tests read: each is made once in a session, by the worker that first asks for it."""

import contextlib
import importlib
import io
import json
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import filelock
import pytest
import short
import tiny

from clipclean import cli, report, requests
from clipclean.export import formats, hf_directory, onnx_files, open_clip_directory
from clipclean.jobs import export as export_job

KNOWN = ("--trigger", tiny.TRIGGER, "--target", tiny.TARGET)


class Run(NamedTuple):
    """A finished run: its job, the folder with what it wrote, its exit code, and its standard output."""

    job: tiny.Job
    out: Path
    code: int
    shown: str


def made(folder: Path, name: str, /, **job: Any) -> Run:
    """The run of a function of this module, which fills the ``out`` of a new job; who asks while another process makes it waits."""
    place = folder / name
    told = place / "told.json"
    folder.mkdir(exist_ok=True)
    with filelock.FileLock(f"{place}.lock"):
        if not told.exists():
            with contextlib.redirect_stdout(io.StringIO()) as shown:
                code = globals()[name](tiny.job(place / "job", **job))
            told.write_text(json.dumps([code or 0, shown.getvalue()]), encoding="utf-8")
    found = tiny.at(place / "job")
    return Run(found, found.out, *json.loads(told.read_text(encoding="utf-8")))


def cleaning(job: tiny.Job, *more: object) -> list[str]:
    """The command line of ``cleaned``; every job has the same files, so it gives the same weights wherever it is run."""
    return job.sanitize(*KNOWN, *more, recipe="cleanclip")


def cleaned(job: tiny.Job, /) -> int:
    """A whole cleaning, nothing left out: 48 pairs, of which 5 are held out, 3 steps of 16."""
    return cli.main(cleaning(job))


def audited(job: tiny.Job, /) -> int:
    """A whole audit on labelled images: a report in every form, and the triggers that it saved."""
    importlib.import_module("clipclean.cli.audit")  # its help tells of searches as they are when it is first imported
    job.out.mkdir()
    outputs = [part for form in report.WRITERS for part in ("--report", f"{form}={job.out / form}")]
    shown = tiny.labelled(job.folder / "labelled", count=60)
    given = ("--effort", "quick", "--quiet", "--data", shown, "--save-triggers", job.folder / "found")
    with pytest.MonkeyPatch.context() as patch:
        short.searches(patch)
        return cli.main(job.audit(*given, *outputs))


def screened(job: tiny.Job, /) -> int:
    """A screening of 48 pairs, one of them hostile; the first tenth is dropped."""
    job.out.mkdir()
    tiny.written(job.data / "005.txt", "a <script>alert(1)</script>\x1b[2J circle")
    reports = [part for form in ("json", "html", "text") for part in ("--report", f"{form}={job.out / form}")]
    more = ("--drop", "10%", "--save-kept", job.out / "kept.csv", "--trigger", tiny.TRIGGER, "--top", "12", *reports)
    return cli.main(job.screen(*more))


def exported(job: tiny.Job, /) -> None:
    """A folder in every layout; the graphs are small ones with the metadata of real ones."""
    import onnx

    end = onnx.helper.make_tensor_value_info("x", 1, [1])

    def graphs(folder: Path, *_: object, metadata: dict[str, str]) -> None:
        (folder / "onnx").mkdir()
        for name in ("vision", "text"):
            model = onnx.helper.make_model(onnx.helper.make_graph([], name, [end], [end]))
            onnx.helper.set_model_props(model, metadata)
            (folder / "onnx" / f"{name}_model.onnx").write_bytes(model.SerializeToString())

    paths = {"data": (job.data,), "out": job.out, "arch": str(job.arch)}
    request = requests.Export(job.model, format=tuple(formats.EXPORT_FORMATS), **paths)
    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch.object(onnx_files, "write", graphs))
        for module in (onnx_files, open_clip_directory):
            patches.enter_context(mock.patch.object(module, "check", short.alike))
        patches.enter_context(mock.patch.object(hf_directory, "can_check", return_value=False))
        export_job.export(request)


def demonstrated(job: tiny.Job, /) -> int:
    """The demo of two steps, with every known trigger."""
    shortened = "--set train.max_steps=2 --set train.warmup_steps=1 --exit-zero --keep-failed --quiet"
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(job.folder):
        short.all_known_triggers(patch)
        return cli.main(["demo", "--out", "out", *shortened.split()])


def planted(job: tiny.Job, /) -> int:
    """A model with a patch for blue circles planted in it, and labelled images."""
    given = ("--eval-data", tiny.labelled(job.folder / "labelled", count=96), "--rate", 0.15, "--walk", 2)
    return cli.main(job.plant("--json", *given, steps=100, batch=48))
