"""``clipclean demo``."""

import tarfile
from dataclasses import fields

import pytest
import tiny

import clipclean
from clipclean import checkpoint, cli, data, demo, report
from clipclean.attack import triggers
from clipclean.cli import demo as command
from clipclean.config import recipe
from clipclean.errors import ResourceError, UsageError
from clipclean.jobs import finetune_base, opening

FILES = {"backdoored.pt", "tiny.json", "classes.txt", "templates.txt", "clean.tar", "eval.tar"}


def test_unpacking_gives_all_that_the_demo_names(tmp_path, capsys, monkeypatch):
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
    arguments = demo.arguments(folder)
    assert cli.main(["demo", "--unpack", "."]) == 0  # in which the default of --out lies
    assert not set(arguments) & {field.name for field in fields(command.Demo)}
    files = [arguments[name] for name in ("model", "classes", "templates")]
    places = (*files, *arguments["data"], *arguments["eval_data"])
    assert all(place.exists() for place in places)


def test_unpacking_leaves_what_is_the_users_own_as_it_is(tmp_path):
    demo.unpack(tmp_path / "demo")
    demo.unpack(tmp_path / "demo")  # equal ones stay
    (tmp_path / "demo" / "classes.txt").write_text("my own classes")
    (tmp_path / "demo" / "tiny.json").unlink()
    (tmp_path / "demo" / "tiny.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"classes\.txt, tiny\.json"):
        demo.unpack(tmp_path / "demo")
    assert (tmp_path / "demo" / "classes.txt").read_text() == "my own classes"
    assert not (tmp_path / "elsewhere").exists()


def test_unpacking_below_a_file_is_refused(tmp_path):
    file = tiny.written(tmp_path / "classes.txt", "my own classes")
    with pytest.raises(ResourceError):
        demo.unpack(file / "folder")


def test_the_pair_is_a_finetune_of_its_base(tmp_path):
    assert cli.main(["demo", "--base", "--unpack", str(tmp_path)]) == 0
    assert tiny.names(tmp_path) == FILES | {"base.pt", "finetune.pt"}
    arguments = demo.arguments_beside_base(tmp_path)
    finetune = opening.read(arguments["model"], arch=arguments["arch"])
    base = finetune_base.read(arguments["base"], finetune, arch=arguments["arch"])
    assert base.weights.is_base
    assert base.weights.change > 0.05


def test_neither_model_of_the_pair_has_the_image_tower_of_the_bundled_one(tmp_path):
    demo.unpack(tmp_path, pair=True)
    arch = demo.arguments_beside_base(tmp_path)["arch"]
    bundled = checkpoint.read(tmp_path / demo.CHECKPOINT).tensors
    for name in (demo.FINETUNE, demo.BASE):
        own = opening.read(tmp_path / name, arch=arch).file.tensors
        assert {name.partition(".")[0] for name in own if not own[name].equal(bundled[name])} == {"visual"}


def test_the_demo_with_a_base_names_neither_trigger_nor_class(tmp_path):
    given = demo.arguments_beside_base(tmp_path)
    assert not {"trigger", "target", "search", "recipe"} & given.keys()


@pytest.mark.slow
def test_the_demo_with_a_base_takes_out_what_the_finetune_brought_in(tmp_path):
    out = tmp_path / "out"
    code = cli.main(["demo", "--base", "--out", str(out), "--quiet", "--report", f"json={tmp_path / 'report.json'}"])
    cleaning = report.read(tmp_path / "report.json")
    assert (code, cleaning.verdict, cleaning.base.is_base) == (0, "pass", True)
    assert cleaning.base.differences[0].target == "rocket"
    assert [each for each in cleaning.base.left if each.target == "rocket" and each.own.value > 0.05] == []


@pytest.mark.slow
def test_a_backdoor_that_the_base_alone_has_is_no_finding_of_a_comparison(tmp_path):
    demo.unpack(tmp_path, pair=True)  # the base of the pair is what a cleaning made of the bundled model
    words = {
        "classes": tmp_path / "classes.txt",
        "templates": tmp_path / "templates.txt",
        "data": tmp_path / demo.LABELLED,
    }
    more = {"arch": str(tmp_path / "tiny.json"), "trigger": demo.TRIGGER, "device": "cpu"}
    comparison = clipclean.compare(tmp_path / demo.BASE, base=tmp_path / demo.CHECKPOINT, **words, **more)
    first = comparison.base.on_base[0]
    assert (first.trigger.partition(":")[0], first.target, first.base.value > 0.9) == ("patch", demo.TARGET, True)
    assert comparison.findings == ()


@pytest.mark.slow
def test_the_demo_runs_to_its_end(world):
    _, out, code, _ = world("demonstrated", count=1)
    found = report.read(out / "report.json").as_json()
    assert code == 0
    assert found["training"]["steps"] > 0
    assert (out / "open_clip_model.safetensors").exists()
    named = found["before"]["measurements"]["probes"][0]
    assert (named["target"], named["suspected"]) == (demo.TARGET, True)
    assert named["excess_asr"]["value"] > 0.5  # the bundled model is backdoored
    cleaned = found["after"]["measurements"]["probes"][0]
    assert (cleaned["trigger"], cleaned["excess_asr"]["value"] < 0.05) == (named["trigger"], True)
    assert {path.name for path in out.parent.iterdir()} == tiny.FILES | {"out"}
