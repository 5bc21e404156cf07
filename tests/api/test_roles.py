import itertools
import os
from dataclasses import make_dataclass
from pathlib import Path
from typing import Annotated

import pytest

from clipclean import requests
from clipclean.api import roles
from clipclean.cli.options import Output, Shell
from clipclean.errors import ResourceError, UsageError
from clipclean.requests import Opt

KINDS = (requests.Audit, requests.Sanitize, requests.Screen, requests.Plant, requests.Verify, Shell)
KNOWN = {name: known for kind in KINDS for name, known in requests.options(kind).items()}
INPUTS = tuple(name for name, known in KNOWN.items() if known.reads and name not in ("models", "trigger"))
WRITTEN = ("out file", "save_kept", "outputs")
FOLDERS = ("out folder", "save_triggers")
SPELLINGS = {  # of a file that is read, and of a folder
    "file": ("as it is", "relative", "a link", "a second name", "through a linked folder"),
    "folder": ("as it is", "relative", "through a linked folder"),
}


def asked(**given):
    """A request with these fields; of ``out_file`` and ``out_folder`` the name is ``out``."""
    known = KNOWN | {f"out_{kind}": Opt(writes=kind) for kind in ("file", "folder")}
    names = [name.removesuffix("_file").removesuffix("_folder") for name in given]
    kind = make_dataclass("Asked", [(n, Annotated[object, known[name]]) for n, name in zip(names, given, strict=True)])
    return kind(*given.values())


def given(role, path):
    """The field of a request that has this path in this role."""
    return {role.replace(" ", "_"): (Output("json", path),) if role == "outputs" else path}


def check(read, source, role, path):
    roles.check(asked(**{read: source}), asked(**given(role, path)))


def spelt(path, spelling, tmp_path, monkeypatch):
    if spelling == "relative":
        monkeypatch.chdir(path.parent)
        return path.relative_to(path.parent) if path.parent != path else path
    if spelling == "a link":
        (tmp_path / "link").symlink_to(path)
        return tmp_path / "link"
    if spelling == "a second name":
        (tmp_path / "second").hardlink_to(path)
        return tmp_path / "second"
    if spelling == "through a linked folder":
        (tmp_path / "linked").symlink_to(path.parent)
        return tmp_path / "linked" / path.name
    return path


@pytest.mark.parametrize(("kind", "spelling"), [(kind, each) for kind in SPELLINGS for each in SPELLINGS[kind]])
def test_no_file_is_written_to_a_place_that_is_read(tmp_path, monkeypatch, kind, spelling):
    source = tmp_path / "inputs" / kind
    source.parent.mkdir()
    source.write_text("precious") if kind == "file" else source.mkdir()
    path = spelt(source, spelling, tmp_path, monkeypatch)
    for read, role in itertools.product(INPUTS, WRITTEN):
        with pytest.raises(UsageError):
            check(read, source, role, path if kind == "file" else path / "new.json")
    assert kind == "folder" or source.read_text() == "precious"


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        *(("file", place) for place in ("itself", "around", "above")),  # nothing lies in a file
        *(("folder", place) for place in ("itself", "inside", "around", "above")),
    ],
)
def test_no_folder_is_written_that_is_read_or_lies_in_or_around_what_is(tmp_path, kind, place):
    source = tmp_path / "work" / "inputs" / "source"
    source.parent.mkdir(parents=True)
    source.write_text("x") if kind == "file" else source.mkdir()
    places = {"itself": source, "inside": source / "out", "around": source.parent, "above": source.parent.parent}
    for read, role in itertools.product(INPUTS, FOLDERS):
        with pytest.raises(UsageError):
            check(read, source, role, places[place])


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("inside", ["outputs", "save_kept"])
def test_no_output_lies_in_the_folder_of_another(tmp_path, folder, inside):
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError):
        roles.check(asked(**given(folder, tmp_path / "out"), **given(inside, tmp_path / "out" / "report.json")))


def test_no_two_outputs_are_one_file_however_it_is_spelt(tmp_path):
    outputs = (Output("json", tmp_path / "a"), Output("html", tmp_path / ".." / tmp_path.name / "a"))
    with pytest.raises(UsageError):
        roles.check(asked(outputs=outputs))


def test_a_report_may_replace_a_file(tmp_path):
    (tmp_path / "report.json").write_text("{}")
    roles.check(asked(outputs=(Output("json", tmp_path / "report.json"),)))


@pytest.mark.parametrize(("path", "refusal"), [("/dev/null", UsageError), ("/proc/report.json", ResourceError)])
def test_no_report_is_written_to_a_device(path, refusal):
    with pytest.raises(refusal):
        roles.check(asked(outputs=(Output("json", Path(path)),)))


PATTERNS = ("a-*.tar", "a-00?.tar", "a-{003,004}.tar", "a-[0-9]*.tar", "../*/a-003.tar")
RANGE = "a-{000..009}.tar"  # whatever stands there


@pytest.mark.parametrize(
    ("pattern", "name"),
    [*((each, "a-003.tar") for each in (*PATTERNS, RANGE)), (RANGE, "a-004.tar"), (RANGE, "a-7.tar")],
)
def test_nothing_is_written_over_that_a_pattern_may_stand_for(tmp_path, pattern, name):
    (tmp_path / "a-003.tar").touch()
    for source in (tmp_path / pattern, (Path("b.tar"), tmp_path / pattern)):
        with pytest.raises(UsageError):
            check("data", source, "save_kept", tmp_path / name)
    with pytest.raises(UsageError):
        check("data", tmp_path / pattern, "out folder", tmp_path)
    check("data", tmp_path / RANGE, "save_kept", tmp_path / "kept.tar")


@pytest.mark.parametrize("role", [*WRITTEN, *FOLDERS])
def test_places_apart_are_taken(tmp_path, role):
    (tmp_path / "model.pt").touch()
    check("model", tmp_path / "model.pt", role, tmp_path / "results")


@pytest.mark.parametrize("role", [*WRITTEN, *FOLDERS])
def test_the_name_of_a_recipe_is_no_place(tmp_path, monkeypatch, role):
    monkeypatch.chdir(tmp_path)
    check("recipe", "auto", role, tmp_path / "auto")


def test_what_cannot_be_logged_to_is_refused_at_once(tmp_path):
    with pytest.raises(UsageError, match="--log-dir"):
        roles.check(asked(log_to=("wandb",), log_dir=None))
    with pytest.raises(UsageError, match="no_such_package_at_all"):
        roles.check(asked(log_to=("no_such_package_at_all",), log_dir=tmp_path / "logs"))
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError):
        roles.check(asked(log_dir=tmp_path / "file" / "logs"))


PLACES = {
    "pipe": os.mkfifo,
    "device": lambda place: place.symlink_to("/dev/null"),
    "link": lambda place: (place.with_name("target").write_text("x"), place.symlink_to(place.with_name("target"))),
    "dangling link": lambda place: place.symlink_to(place.with_name("target")),
    "binary": lambda place: place.write_bytes(b"PK\3\4\0\0"),
    "folder": Path.mkdir,
}


@pytest.mark.parametrize("kind", PLACES)
def test_a_report_replaces_nothing_but_a_text(tmp_path, kind):
    place = tmp_path / "place"
    PLACES[kind](place)
    before = place.lstat()
    with pytest.raises(UsageError):
        roles.check(asked(outputs=(Output("json", place),)))
    assert (place.lstat().st_mode, place.lstat().st_ino) == (before.st_mode, before.st_ino)
