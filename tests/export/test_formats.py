"""What each layout writes, and how a folder takes the place of an earlier one: whole, and never of the user's own."""

import contextlib
import importlib.util
import json
import os
import signal
from pathlib import Path

import clips
import pytest
import short
import tiny
import torch
from attacks import kills
from tiny import files_in as names

from clipclean import checkpoint, files, own_state, progress
from clipclean.errors import ResourceError, UsageError
from clipclean.export import formats, onnx_files, parity, placing, records


def wanted(*names, preset="transformers.js", normalise=False, fp16=False):
    return formats.ExportOptions(names, preset, normalise, fp16)


def build(config):
    return clips.build(config), tiny.state_dict(config)


def write(folder, clip, weights, choice):
    side = clip.architecture.preprocess.size
    pixels = torch.rand(5, 3, side, side, generator=torch.Generator())
    shown = {"pixels": pixels, "captions": [f"a {name}" for name in tiny.CLASSES[:5]]}
    return formats.write(folder, clip, weights, options=choice, source_sha256="ab" * 32, **shown)


@pytest.fixture
def no_transformers(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else found(name))


def test_choices_are_checked_before_anything_is_written(monkeypatch):
    formats.check(wanted("hf", "onnx"))
    formats.check(wanted("open_clip", "onnx", preset="immich"))
    with pytest.raises(UsageError, match=r"config\.json"):
        formats.check(wanted("hf", "onnx", preset="immich"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    formats.check(wanted("open_clip", "hf"))
    with pytest.raises(UsageError, match="onnx, onnxscript, onnxruntime"):
        formats.check(wanted("onnx"))


def test_without_transformers_the_file_itself_is_mapped_back(tmp_path, no_transformers):
    clip, weights = build(tiny.SMALL_VIT)
    heard = []
    with progress.heard(progress.Listener(steps=lambda *step: heard.append(step))):
        (entry,) = write(tmp_path, clip, weights, wanted("hf"))
    assert entry.parity["reader"].startswith("clipclean")
    assert entry.parity["max_difference"] < 1e-6  # one batch, or several
    assert (entry.format, entry.path) == ("hf", "model.safetensors")
    assert entry.sha256 == files.sha256(tmp_path / "model.safetensors")
    assert heard == [("exporting hf", 0, 1), ("exporting hf", 1, 1)]


def test_without_transformers_moved_weights_are_noticed(tmp_path, no_transformers):
    clip, weights = build(tiny.SMALL_VIT)
    moved = weights | {"visual.proj": weights["visual.proj"].flip(1)}
    with pytest.raises(parity.ExportMismatch, match="clipclean"):
        write(tmp_path, clip, moved, wanted("hf"))


@pytest.fixture
def no_graphs(monkeypatch):
    """Skip the exporter and the runtime, which take seconds; keep what the graphs would have been told."""
    told = {}

    def write(folder, clip, wanted, /, *, metadata):
        told.update(metadata)
        for name in wanted.graphs:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)

    monkeypatch.setattr(onnx_files, "write", write)
    monkeypatch.setattr(onnx_files, "check", short.alike)
    return told


@pytest.mark.parametrize("form", ["open_clip", pytest.param("hf", marks=pytest.mark.slow)])
def test_equal_weights_give_equal_files(tmp_path, form, unread, no_transformers):
    for place in "ab":
        (tmp_path / place).mkdir()
        clip, weights = build(tiny.SMALL_VIT)
        write(tmp_path / place, clip, weights, wanted(form))
    assert names(tmp_path / "a") == names(tmp_path / "b") == set(formats.EXPORT_FORMATS[form].files)
    for file in names(tmp_path / "a"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_the_graphs_are_told_what_is_needed_to_use_them(tmp_path, no_graphs):
    clip, weights = build(tiny.SMALL_VIT)
    entries = write(tmp_path, clip, weights, wanted("onnx", fp16=True))
    assert [entry.path for entry in entries] == ["onnx/vision_model_fp16.onnx", "onnx/text_model_fp16.onnx"]
    assert no_graphs["clip.context_length"] == "8"
    assert no_graphs["clip.activation"] == "quick_gelu"
    assert json.loads(no_graphs["clip.image_mean"]) == [0.48145466, 0.4578275, 0.40821073]
    assert (no_graphs["clip.image_size"], no_graphs["clip.image_interpolation"]) == ("16", "bicubic")
    assert float(no_graphs["clip.logit_scale"]) == pytest.approx(1 / 0.07)
    assert no_graphs["clip.source_sha256"] == "ab" * 32
    assert no_graphs["clip.tensor_sha256"] == checkpoint.digest(weights)


JS = {"config.json", "preprocessor_config.json", "tokenizer.json"}
IMMICH = {"config.json", "visual/preprocess_cfg.json", "textual/tokenizer.json", "textual/tokenizer_config.json"}


@pytest.mark.parametrize(
    ("config", "choice", "has", "has_not"),
    [
        (tiny.SMALL_VIT, wanted("onnx"), JS, set()),
        (tiny.TINY_RESNET, wanted("onnx"), JS - {"config.json"}, {"config.json"}),  # no CLIPConfig describes it
        (tiny.SMALL_VIT, wanted("onnx", preset="immich"), IMMICH, set()),
    ],
)
def test_beside_the_graphs_stands_what_their_consumer_reads(tmp_path, no_graphs, config, choice, has, has_not):
    clip, weights = build(config)
    write(tmp_path, clip, weights, choice)
    assert (has - names(tmp_path), has_not & names(tmp_path)) == (set(), set())
    assert names(tmp_path) <= set(formats.FILE_NAMES)
    if choice.preset == "immich":
        assert json.loads((tmp_path / "config.json").read_text())["text_cfg"]["context_length"] == 8


KNOWN = ("deep/weights", "gone/old", "report", records.SUMS_NAME)


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPCLEAN_STATE", str(tmp_path / "state"))


def everything_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def placed(folder, contents):
    for name, text in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / records.SUMS_NAME).write_text(records.sums(folder))


def look(out, *, force=False):
    return placing.look(out, force=force, names=KNOWN)


def put(out, contents, *, force=False, run="run"):
    output = look(out, force=force)
    output.check(out, run, force=force)
    with placing.scratch_folder(out) as new:
        placed(new, contents)
        placing.move_in(new, out, earlier=output.earlier, run=run)
    placing.close_run(out)


FIRST = {"deep/weights": "one", "gone/old": "one", "report": "one"}
SECOND = {"deep/weights": "two", "report": "two"}


def test_a_new_folder_holds_the_result_alone(tmp_path):
    out = tmp_path / "parents" / "out"
    put(out, FIRST)
    assert everything_in(out).keys() == {*FIRST, records.SUMS_NAME}
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert own_state.noted(out) is None


def test_a_new_folder_has_the_usual_mode(tmp_path):
    out, usual = tmp_path / "parents" / "out", tmp_path / "usual"
    usual.mkdir()
    put(out, FIRST)
    assert out.stat().st_mode == usual.stat().st_mode


def test_a_folder_with_a_result_is_refused_without_force(tmp_path):
    put(tmp_path / "out", FIRST)
    with pytest.raises(UsageError):
        look(tmp_path / "out")


def test_force_replaces_only_what_an_earlier_run_left(tmp_path):
    out = tmp_path / "out"
    put(out, FIRST)
    (out / "mine.txt").write_text("mine")
    put(out, SECOND, force=True)
    assert everything_in(out).keys() == {*SECOND, records.SUMS_NAME, "mine.txt"}
    assert everything_in(out) | SECOND == everything_in(out)
    assert not (out / "gone").exists()


def linked(out, name):
    (out / name).rename(out / "elsewhere")
    (out / name).symlink_to("elsewhere")


def piped(path):
    path.unlink()
    os.mkfifo(path)


FOREIGN = {  # what is changed, and what is named then
    "no record": (lambda out: (out / records.SUMS_NAME).unlink(), "deep/weights, gone/old, report"),
    "changed since": (lambda out: (out / "report").write_text("notes of mine"), "report"),
    "a link": (lambda out: linked(out, "report"), "report"),
    "through a link": (lambda out: linked(out, "deep"), "deep/weights"),
    "not listed": (lambda out: (out / records.SUMS_NAME).write_text("0" * 64 + "  other\n"), "report"),
    "a pipe": (lambda out: piped(out / "report"), "report"),
    "a broken record": (lambda out: (out / records.SUMS_NAME).write_text("\x1b[31m"), records.SUMS_NAME),
    "a record that waits": (lambda out: piped(out / records.SUMS_NAME), records.SUMS_NAME),
}


@pytest.mark.parametrize("change", FOREIGN)
def test_what_is_not_provably_ours_is_refused_by_name_whatever_is_asked_for(tmp_path, change):
    out, (act, named) = tmp_path / "out", FOREIGN[change]
    put(out, FIRST)
    act(out)
    with pytest.raises(UsageError) as caught:
        look(out, force=True)
    assert named in str(caught.value)


@pytest.mark.parametrize("earlier", [{}, FIRST])
@pytest.mark.parametrize("moves", range(5))
def test_where_a_file_cannot_be_moved_all_is_as_it_was(tmp_path, monkeypatch, earlier, moves):
    out = tmp_path / "out"
    if earlier:
        put(out, earlier)
        (out / "mine.txt").write_text("mine")
    before = everything_in(out) if earlier else None
    real, done = Path.replace, []

    def replace(path, target):
        if placing.SCRATCH_PREFIX in str(path) and "state" not in str(path):
            done.append(path)
            if len(done) > moves:
                monkeypatch.undo()
                monkeypatch.setenv("CLIPCLEAN_STATE", str(tmp_path / "state"))
                raise OSError(28, "full")
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    try:
        put(out, SECOND, force=True)
    except ResourceError:
        assert (everything_in(out) if out.exists() else None) == before
    else:
        assert len(done) <= moves or not earlier  # no so many moves; or the folder was moved file by file
    assert {path.name for path in tmp_path.iterdir()} <= {"out", "state"}


def killed(out, at):
    """Whether a process was killed before the given change to the file system."""
    child = os.fork()
    if child == 0:
        kills.killer_before(at)()
        try:
            put(out, SECOND, force=True, run="the killed run")
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("earlier", [False, True])
def test_a_process_killed_before_any_change_to_the_file_system_is_finished_by_the_next(tmp_path, earlier):
    at, ended = 0, {"again": 0, "there": 0}
    while True:
        at += 1
        base = tmp_path / str(at)
        base.mkdir()
        out = base / "out"
        if earlier:
            put(out, FIRST)
            (out / "mine.txt").write_text("mine")
        if not killed(out, at):
            break
        output = look(out, force=True)
        if output.run == "the killed run":
            ended["there"] += 1
            placing.close_run(out)
        else:
            ended["again"] += 1
            assert output.run is None
            if out.exists() and (out / "report").exists():  # the earlier result is whole
                assert records.parse(Path(out / records.SUMS_NAME).read_bytes()).items() <= records.digests(out).items()
            put(out, SECOND, force=True)
        assert {name: text for name, text in everything_in(out).items() if name in SECOND} == SECOND
        assert "gone/old" not in everything_in(out)
        assert (out / "mine.txt").exists() == earlier
        assert {path.name for path in base.iterdir()} == {"out"}
    assert ended["there"] > 1
    assert ended["again"] > 1


@contextlib.contextmanager
def moving(out):
    """Another process is moving its result into the folder: at the end of a with-block it has, and is killed before it could say so."""
    with own_state.locked(own_state.place_of(out)), placing.scratch_folder(out) as new:
        placed(new, FIRST)
        yield
        placing.move_in(new, out, earlier={}, run="first")


def test_what_another_process_is_moving_is_left_to_it(tmp_path):
    out = tmp_path / "out"
    with moving(out), pytest.raises(UsageError):
        look(out)
    assert everything_in(out).keys() == {*FIRST, records.SUMS_NAME}


def test_a_result_that_nobody_was_told_of_is_replaced_by_another_run_only_if_forced(tmp_path):
    out = tmp_path / "out"
    with moving(out):
        pass
    output = look(out)
    assert output.run == "first"
    output.check(out, "first", force=False)
    output.check(out, "second", force=True)
    with pytest.raises(UsageError):
        output.check(out, "second", force=False)


def test_a_name_that_is_no_text_is_refused_before_any_work(tmp_path):
    out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/out\xff"))
    with pytest.raises(UsageError, match=r"out.udcff"):
        look(out)
    with pytest.raises(ResourceError):
        look(tmp_path / ("x" * 300))
