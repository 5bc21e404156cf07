import html
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from report import samples, searches

from clipclean import cli, demo, report, requests
from clipclean.findings import finding
from clipclean.jobs import results
from clipclean.jobs.job import Job
from clipclean.report import RunPaths
from clipclean.report.verdicts import PAIRS_PLACEHOLDER, commands

OPTIONS = ["--arch", "tiny.json", "--classes", "classes.txt", "--templates", "templates.txt"]
TRIGGER = ["--trigger", demo.TRIGGER, "--target", demo.TARGET]
PASSING = "version: 1\nname: mild\nseverities: {CC001: note, CC002: note, CC010: note, CC060: warning}\n"


def suggested(made, **given):
    made = report.parse(made)
    return [words for _, words in commands(made, results.paths_of(requests.Audit(**given)))]


def test_a_command_repeats_what_the_run_was_given():
    arguments = {"model": "m.pt", "arch": "RN50", "classes": Path("a b.txt"), "references": (Path("r.json"),)}
    (words,) = suggested(searches.backdoored(), **arguments)
    assert words.endswith(f"--trigger {samples.SPEC} --target banana --classes 'a b.txt' --arch RN50")
    assert "--references" not in words  # a cleaning may search with another effort


def test_a_command_repeats_a_seed():
    (words,) = suggested(searches.backdoored(), model="m.pt", seed=3)
    assert words.endswith(" --seed 3")


@pytest.mark.parametrize(
    ("option", "words"),
    [({"policy": Path("ours.yaml")}, " --policy ours.yaml"), ({"ignore": ("CC031",)}, " --ignore CC031")],
)
def test_a_command_repeats_what_the_verdict_counts(option, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("ours.yaml").write_text(PASSING)
    request = Job.of(requests.Audit(model="m.pt", **option)).request
    ((_, command),) = commands(report.parse(searches.backdoored()), results.paths_of(request))
    assert command.endswith(words)


def test_after_a_quick_audit_that_misses_what_was_planted_the_next_one_searches_harder():
    made = searches.doubtful() | {"effort": "quick", "suspects": []}
    made["findings"] = [samples.finding("CC004", "warning", "")]
    given = {"model": "m.pt", "data": (Path("mine"),), "effort": "quick"}
    (words,) = suggested(made, **given)
    assert words.endswith("--reference CLEAN_MODEL --effort quick")
    made["findings"].append(samples.finding("CC008", "warning", ""))
    (words,) = suggested(made, **given)
    assert words.endswith("--reference CLEAN_MODEL --effort standard")


def test_a_command_names_the_file_of_a_found_trigger():
    result = searches.backdoored()
    result["measurements"]["search"]["found"][0]["file"] = "01-mask.safetensors"
    ((_, words),) = commands(report.parse(result), RunPaths(model="m.pt", trigger_folder="found"))
    assert words.endswith("--trigger found/01-mask.safetensors")


def test_a_command_names_a_file_for_classes_that_were_given_as_words():
    (words,) = suggested(searches.backdoored(), model="m.pt", classes=("cat", "dog"))
    assert "--classes classes.txt" in words


def test_after_an_undecided_cleaning_the_weights_that_were_written_are_audited_on_what_the_run_measured_on():
    given = {"out": Path("out"), "eval_data": (Path("a"), Path("b")), "classes": Path("c.txt"), "arch": "tiny.json"}
    made = report.parse(samples.undecided() | {"exports": samples.passed()["exports"]})
    ((_, words),) = commands(made, results.paths_of(requests.Sanitize("m.pt", (Path("clean"),), **given)))
    assert words == "clipclean audit out --data a::b --classes c.txt"
    without = given | {"eval_data": None}
    ((_, words),) = commands(made, results.paths_of(requests.Sanitize("m.pt", (Path("clean"),), **without)))
    assert words == "clipclean audit out --data clean --classes c.txt"


def test_an_undecided_audit_is_first_repeated_with_what_it_lacked():
    made = searches.doubtful()
    made["findings"] = [samples.finding(code, "note", "") for code in ("CC031", "CC033")]
    (words,) = suggested(made, model="m.pt", target="x")
    assert words.startswith("clipclean audit m.pt --classes CLASSES.txt --data IMAGES")
    made["findings"] = [samples.finding("CC004", "warning", "")]
    assert suggested(made, model="m.pt")[0].startswith("clipclean sanitize ")  # a class is in doubt
    made["suspects"] = []
    (words,) = suggested(made, model="m.pt", data=(Path("mine"),))
    assert words == "clipclean audit m.pt --data mine --reference CLEAN_MODEL"


@pytest.mark.parametrize("more", [(), ("CC021",), ("CC004",), ("CC003", "CC004"), ("CC031",)])
def test_after_too_few_images_the_next_audit_asks_for_others(more):
    made = searches.doubtful()
    made["findings"] = [samples.finding(code, "warning", "") for code in ("CC020", *more)]
    if "CC021" in more:
        made["measurements"]["search"] = {}
    (words,) = suggested(made, model="m.pt", data=(Path("few"),))
    assert words.startswith("clipclean audit m.pt --data IMAGES")
    assert words.count("--data") == 1


def test_what_goes_on_after_its_time_was_over_has_the_same_images_however_few():
    made = searches.doubtful()
    made["findings"] = [samples.finding(code, "warning", "") for code in ("CC020", "CC024")]
    (words,) = suggested(made, model="m.pt", data=(Path("few"),))
    assert words == "clipclean audit m.pt --data few --max-minutes MORE"


def test_after_a_cleaning_that_too_few_images_judged_the_weights_are_audited_on_the_same():
    made = report.parse(samples.undecided() | {"exports": samples.passed()["exports"]})
    made = made.model_copy(update={"findings": (*made.findings, finding("CC020", "Too few."))})
    given = requests.Sanitize("m.pt", (Path("clean"),), out=Path("out"))
    ((_, words),) = commands(made, results.paths_of(given))
    assert words == "clipclean audit out --data clean"


def test_an_undecided_audit_without_a_search_is_repeated_with_one():
    made = searches.doubtful()
    made["measurements"]["search"] = {}
    made["findings"] = [samples.finding(code, "warning", "") for code in ("CC002", "CC021")]
    (words,) = suggested(made, model="m.pt", data=(Path("mine"),), search=False)
    assert words == "clipclean audit m.pt --data mine"


def test_a_repeated_audit_has_the_effort_of_the_first():
    result = searches.doubtful()
    result["measurements"]["search"] = {}
    result["findings"] = [samples.finding("CC024", "warning", "")]
    arguments = {"model": "m.pt", "data": (Path("mine"),)}
    assert suggested(result, **arguments, effort="quick") == [
        "clipclean audit m.pt --data mine --max-minutes MORE --effort quick"
    ]
    assert suggested(result, **arguments, effort="standard") == ["clipclean audit m.pt --data mine --max-minutes MORE"]


def test_an_undecided_quick_audit_is_repeated_with_more_effort():
    made = searches.doubtful() | {"effort": "quick", "findings": [samples.finding("CC004", "warning", "")]}
    assert suggested(made, model="m.pt", effort="quick")[0].endswith(" --effort standard")


def test_an_audit_that_ran_out_of_time_goes_on_with_more():
    made = searches.doubtful()
    made["findings"] = [samples.finding(code, "warning", "") for code in ("CC004", "CC024")]
    (words,) = suggested(made, model="m.pt", data=(Path("mine"),))
    assert words == "clipclean audit m.pt --data mine --max-minutes MORE"


def test_a_harder_audit_leaves_out_references_of_another_effort():
    made = searches.doubtful() | {"effort": "quick", "findings": [samples.finding("CC004", "warning", "")]}
    (words,) = suggested(made, model="m.pt", effort="quick", references=(Path("quick.json"),))
    assert "--references" not in words


def test_a_harder_audit_takes_clean_models_in_place_of_their_file():
    made = searches.doubtful() | {"effort": "quick", "findings": []}
    (words,) = suggested(made, model="m.pt", effort="quick", references=(Path("quick.json"),))
    assert words == "clipclean audit m.pt --effort standard --reference CLEAN_MODEL"
    own = {"references": (Path("quick.json"),), "reference": ("trusted.pt",)}
    (words,) = suggested(made, model="m.pt", effort="quick", **own)
    assert words == "clipclean audit m.pt --effort standard --reference trusted.pt"


def test_a_cleaning_is_suggested_without_the_effort_of_the_audit():
    words = suggested(searches.backdoored(), model="m.pt", data=(Path("mine"),), effort="quick")[0]
    assert "--effort" not in words


HOSTILE = ["--report=text=x", "-o", "a b;rm -rf $HOME", "a'b\\c\x1b[2J\u202e.pt", "\x9b\udce9"]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("made", [searches.backdoored, samples.failed, samples.undecided, samples.passed])
def test_no_value_of_a_suggested_command_becomes_an_option_or_drives_a_terminal(made, value):
    made = made()
    made["model"]["name"] = value
    made["suspects"] = [{"class": value, "score": 1.0, "families": [], "trigger": samples.SPEC}]
    options = tuple((of, flag, value) for of in ("audit", "sanitize") for flag in ("--classes", "--arch"))
    for paths in (RunPaths(), RunPaths(value, value, value, "auto", value, options, value)):
        for _, words in commands(report.parse(made), paths):
            if words.startswith("open_clip."):
                continue
            assert words.isprintable()
            told = subprocess.run(["bash", "-c", f'printf "%s\\0" {words}'], capture_output=True, check=True).stdout
            _, command, *parts = told.decode(errors="surrogateescape").removesuffix("\0").split("\0")
            value_of = {"--data", "--classes", "--arch", "--recipe", "--out", "--effort", "--trigger", "--target"}
            free = [part for before, part in zip(["", *parts], parts, strict=False) if before not in value_of]
            known = {*value_of, "--force", *(f"{flag}={value}" for flag in value_of), f"./{value}", "FOLDER"}
            named = {value, value.encode(errors="backslashreplace").decode()}  # as a report holds it
            assert set(free) <= known | {each for each in named if not each.startswith("-")}
            assert command in {"audit", "sanitize", "verify"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    demo.unpack(folder)
    return folder


def shown(page):
    """The commands on a page, with the user's own pairs."""
    found = re.findall(r'<pre tabindex="0"><code>(.*?)</code></pre>', page.read_text(encoding="utf-8"))
    assert found
    return [html.unescape(words).replace(PAIRS_PLACEHOLDER, "clean.tar") for words in found]


def run(words):
    """Run a command as it is printed; what takes minutes is read and checked, and not done."""
    if words.startswith("open_clip."):
        return subprocess.run([sys.executable, "-c", f"import open_clip; {words}"], check=False).returncode
    program, *more = shlex.split(words)
    assert program == "clipclean"
    return cli.main([*more, *(["--dry-run"] if more[0] != "verify" else [])])


@pytest.mark.slow
def test_every_command_that_an_audit_suggests_runs(folder, unread, monkeypatch):
    monkeypatch.chdir(folder)
    asked = ["--data", "eval.tar", "--save-triggers", "found", "--report", "audit.html"]
    assert cli.main(["audit", demo.CHECKPOINT, *OPTIONS, *asked]) in (1, 4)
    (words,) = shown(folder / "audit.html")
    assert "--trigger found/" in words
    assert run(words) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("more", "codes"), [([], (1, 4)), (["--policy", "mild.yaml", "--keep-failed"], (0,))])
def test_every_command_that_a_cleaning_suggests_runs(folder, unread, monkeypatch, more, codes):
    monkeypatch.chdir(folder)
    tiny.written(folder / "mild.yaml", PASSING)
    out = f"out{len(more)}"
    asked = ["--data", "clean.tar", "--eval-data", "eval.tar", "--out", out, "--recipe", "cleanclip", "--no-search"]
    short = ["--set", "train.max_steps=2", "--set", "train.warmup_steps=1"]
    assert cli.main(["sanitize", demo.CHECKPOINT, *OPTIONS, *asked, *short, *TRIGGER, *more]) in codes
    for words in shown(folder / out / "report.html"):
        assert run(words) == 0
    made = report.read(folder / out / "report.json")
    classes, templates = Path("classes.txt"), Path("templates.txt")
    given = requests.Sanitize(demo.CHECKPOINT, (), arch="tiny.json", classes=classes, templates=templates)
    place = results.paths_of(given)._replace(folder=out, recipe="auto")
    assert all(run(words) == 0 for _, words in commands(made, place))
