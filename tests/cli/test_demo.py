"""``clipclean demo``."""

import tarfile
from dataclasses import fields

import pytest
import tiny

from clipclean import checkpoint, cli, data, demo, report
from clipclean.attack import triggers
from clipclean.cli import sanitize as command
from clipclean.config import recipe
from clipclean.errors import ResourceError, UsageError

FILES = {"backdoored.pt", "tiny.json", "classes.txt", "templates.txt", "clean.tar", "eval.tar"}


def test_unpacking_runs_nothing_and_gives_all_that_the_demo_names(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo", "--unpack", "files"]) == 0
    folder = tmp_path / "files"
    assert (tiny.names(folder), tiny.names(tmp_path)) == (FILES, {"files"})
    for name in ("clean.tar", "eval.tar"):
        with tarfile.open(folder / name) as archive:
            assert len(archive.getnames()) > 100
    assert checkpoint.read(folder / demo.CHECKPOINT).format == "torch-zip"
    assert demo.TARGET in data.read_classes(folder / "classes.txt")
    assert data.read_templates(folder / "templates.txt")
    assert triggers.parse(demo.TRIGGER).family == "patch"
    assert demo.RECIPE in recipe.names()
    given = demo.arguments(folder)
    assert cli.main(["demo", "--unpack", "."]) == 0  # in which the default of --out lies
    assert not set(given) & {field.name for field in fields(command.Demo)}
    places = (given["model"], *given["data"], *given["eval_data"], given["classes"], given["templates"])
    assert all(place.exists() for place in places)


def test_files_of_the_users_own_are_not_overwritten_and_links_not_followed(tmp_path):
    demo.unpack(tmp_path / "demo")
    demo.unpack(tmp_path / "demo")  # equal ones stay
    (tmp_path / "demo" / "classes.txt").write_text("my own classes")
    (tmp_path / "demo" / "tiny.json").unlink()
    (tmp_path / "demo" / "tiny.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"classes\.txt, tiny\.json"):
        demo.unpack(tmp_path / "demo")
    assert (tmp_path / "demo" / "classes.txt").read_text() == "my own classes"
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(ResourceError):
        demo.unpack(tmp_path / "demo" / "classes.txt" / "folder")


@pytest.mark.slow
def test_the_demo_runs_to_its_end(world):
    _, out, code, _ = world("demonstrated", count=1)
    found = report.read(out / "report.json").as_json()
    assert code == 0
    assert found["training"]["steps"] > 0
    assert (out / "open_clip_model.safetensors").exists()
    named = found["before"]["measurements"]["probes"][0]
    assert (named["target"], named["known"]) == (demo.TARGET, True)
    assert named["excess_asr"]["value"] > 0.5  # the bundled model is backdoored
    cleaned = found["after"]["measurements"]["probes"][0]
    assert (cleaned["trigger"], cleaned["excess_asr"]["value"] < 0.05) == (named["trigger"], True)
    assert {path.name for path in out.parent.iterdir()} == tiny.FILES | {"out"}
