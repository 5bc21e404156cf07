"""``clipclean audit``, of one model and of several: exit codes, rules, and what is never a pass."""

import os
import re
import resource
import sys
from pathlib import Path

import processes
import pytest
import short
import tiny
import torch
import world as worlds
from PIL import Image
from report.page import Page

from clipclean import cli, files, report
from clipclean.attack import triggers
from clipclean.cli import audit  # its help tells EFFORTS as they are when it is first imported


@pytest.fixture(scope="module", autouse=True)
def _short():
    with pytest.MonkeyPatch.context() as patch:
        short.searches(patch)
        short.exact(patch)
        yield


def state(**changes):
    weights = tiny.state_dict(tiny.SMALL_VIT)
    named = {key.replace("__", "."): change for key, change in changes.items()}
    return weights | {name: change(weights[name]) for name, change in named.items()}


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A job with all the files that its audits name; no test changes them."""
    job = tiny.job(tmp_path_factory.mktemp("job"))
    for name, weights in {
        "trusted": tiny.state_dict(tiny.SMALL_VIT, seed=1),
        "copy": {"state_dict": tiny.state_dict(tiny.SMALL_VIT)},  # another file, the same weights
        "large": tiny.state_dict(tiny.TINY_VIT),
        "nan": state(visual__proj=lambda w: w.index_fill(0, torch.tensor([0]), float("nan"))),
        # finite, and what comes of it is not
        "overflow": state(visual__ln_post__bias=lambda w: w.fill_(3e38), visual__proj=lambda w: w.fill_(3e38)),
        "flat": state(visual__ln_post__weight=torch.zero_, visual__ln_post__bias=lambda w: w.fill_(1)),
        "huge": {"state_dict": state(text_projection=lambda w: w * 1e20)},
        "models/b": tiny.state_dict(tiny.SMALL_VIT, seed=1),
        "models/deeper/a": tiny.state_dict(tiny.SMALL_VIT, seed=2),
    }.items():
        (job.folder / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save(weights, job.folder / f"{name}.pt")
    for name, text in {
        "broken.pt": "no model",
        "models/notes.txt": "no model",
        "one.txt": "red square\n",
        "twice.txt": "red square\nred square\n",
        "two.txt": "red square\nblue circle\n",
        "empty.txt": "",
        "empty.json": "{}",
        "nan.json": '{"format": "clipclean references 1", "models": [{"sizes": {"mask": {"a": NaN}}}]}',
    }.items():
        tiny.written(job.folder / name, text)
    tiny.labelled(job.folder / "labelled", count=60)
    tiny.labelled(job.folder / "eight", count=8)
    tiny.labelled(job.folder / "single", count=1)
    for name in ("none", "black", "taken"):
        (job.folder / name).mkdir()
    (job.folder / "taken" / "x").touch()
    for number in range(60):
        Image.new("RGB", (24, 24)).save(job.folder / "black" / f"{number}.png")
    os.mkfifo(job.folder / "pipe.json")
    with (job.folder / "large.json").open("wb") as sparse:
        sparse.truncate(51_000_000)
    return job


def command(job, *more, models=()):
    return job.audit("--effort", "quick", "--quiet", *more, models=models)


def rules(made):
    return {finding["rule"] for finding in made["findings"]}


# What is measured, and on what.


@pytest.fixture
def whole_report(whole_audit):
    return report.read(whole_audit.out / "json").as_json()


def test_own_images_with_labels_measure_accuracy_too(whole_report):
    assert "CC031" not in rules(whole_report)
    data = whole_report["data"]
    assert (data["name"], data["pairs"], whole_report["effort"]) == ("labelled", 60, "quick")
    assert whole_report["measurements"]["clean_accuracy"]["n"] == 60


def test_a_quick_audit_searches_in_two_families(whole_report):
    assert {entry["family"] for entry in whole_report["measurements"]["search"]["found"]} == {"patch", "blend"}


def test_every_trigger_that_a_search_made_is_saved(whole_audit, whole_report):
    saved = {entry["file"] for entry in whole_report["measurements"]["search"]["found"]}
    assert saved == tiny.names(whole_audit.job.folder / "found")


def test_every_known_trigger_is_tried(whole_report):
    assert len(whole_report["measurements"]["probes"]) == len(triggers.panel(0))


def test_every_class_of_a_short_list_is_compared(whole_report):
    search = whole_report["measurements"]["search"]
    closer, others = ({row["class"] for row in search[key]} for key in ("found", "controls"))
    assert 0 < len(closer) <= 2
    assert closer | others == set(tiny.CLASSES)


def test_every_form_of_the_report_is_written(whole_audit):
    assert all((whole_audit.out / form).stat().st_size for form in report.WRITERS)  # what they hold: tests/report


def test_the_page_of_an_audit_shows_the_trigger_on_images(whole_audit):
    page = Page((whole_audit.out / "html").read_text(encoding="utf-8"))
    assert page.faults == []
    assert len(page.all("img")) == 14  # the trigger by itself, twice, and six images without and with it


def test_a_quiet_audit_prints_its_verdict_alone(whole_audit):
    _, _, code, shown = whole_audit
    assert code == 4
    assert (shown.count("\n"), "inconclusive model.pt" in shown) == (1, True)


@pytest.mark.parametrize(("model", "code"), [("planted.pt", 1), ("model.pt", 4)])
def test_a_suspicion_is_tested_alone(victim, said, model, code):
    job = victim.job
    given = ("--data", job.folder / "labelled", *worlds.KNOWN, "--no-search", "--json", "--quiet")
    told = said(job.audit(*given, models=(job.folder / model,)), code)
    errors = [each for each in told["findings"] if each["level"] == "error"]
    assert [each["rule"] for each in errors] == ["CC001"] * (code == 1)
    (probe,) = told["measurements"]["probes"]
    assert (probe["suspected"], probe["target"]) == (True, tiny.TARGET)
    assert all(each["target"] == tiny.TARGET and each["value"] > each["threshold"] for each in errors)


def test_what_a_search_shows_so_far_is_printed_on_the_way_unless_the_run_is_quiet(job, capsys):
    asked = job.audit("--effort", "standard", "--data", job.folder / "labelled")
    printed = []
    for more in ([], ["--quiet"]):
        cli.main([*asked, *more])
        printed.append(capsys.readouterr().err.count("So far"))
    assert printed == [2, 0]


# Inconclusive, never a pass; and what a policy moves.


@pytest.mark.parametrize(
    ("more", "model", "told"),
    [
        ("--data eight", None, {"CC020"}),
        ("--no-search", None, {"CC021", "CC031"}),  # without data the bundled images serve, and it is said
        pytest.param("", None, {"CC004", "CC031"}, marks=pytest.mark.slow),
        pytest.param("--classes two.txt", None, {"CC022", "CC031"}, marks=pytest.mark.slow),
        ("--data labelled", "flat.pt", {"CC005"}),  # it maps everything to one vector
    ],
)
def test_too_little_to_judge_by_is_inconclusive(job, said, monkeypatch, more, model, told):
    monkeypatch.chdir(job.folder)
    made = said(command(job, *more.split(), "--json", models=(model,) if model else ()), 4)
    levels = {each["rule"]: each["level"] for each in made["findings"]}
    assert (made["verdict"], told - levels.keys()) == ("inconclusive", set())
    assert levels.get("CC031") == ("note" if "CC031" in told else None)


def policy(folder, text):
    return tiny.written(folder / "policy.yaml", f"version: 1\nname: ours\n{text}")


def suppression(job, code, *, expires="2999-01-31"):
    match = f"{{model_sha256: {files.sha256(job.model)}}}"
    return f"  - {{rule: {code}, reason: known, by: Ann, expires: {expires}, match: {match}}}\n"


def test_a_report_holds_what_was_foreseen_of_its_run(job, said):
    command_line = job.audit("--json", "--no-search", "--data", job.folder / "eight")
    for more, is_heard in ([], True), (["--quiet"], False):  # a quiet run estimates nothing
        forecast = said([*command_line, *more], 4)["forecast"]
        assert forecast["verdicts"] == ["fail", "inconclusive"]
        assert len(forecast["never_passes"]) == 3  # too few images, no search, no clean model
        assert (forecast.get("seconds") is not None) is is_heard


def test_a_run_says_at_its_start_which_policy_is_in_force(job, tmp_path, capsys):
    policy(tmp_path, "thresholds: {min_images: 5}\nseverities:\n  CC021: error\n  CC031: warning\n")
    asked = job.audit("--no-search", "--data", job.folder / "eight")
    lines = {}
    for more in ([], ["--policy", tmp_path / "policy.yaml"]):
        cli.main([*map(str, asked), *map(str, more)])
        lines[bool(more)] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("policy ")]
    assert lines[False] == []
    assert [line.split(maxsplit=1)[1] for line in lines[True]] == ["ours: 1 limit, 2 rules"]


def under_policy(job, folder, text):
    """The command line of an audit by a policy of this text."""
    return several(job, more=("--json", "--policy", policy(folder, text)))


def test_a_policy_makes_a_warning_a_failure(job, said, tmp_path):
    command_line = under_policy(job, tmp_path, "severities:\n  CC021: error\n")
    said(command_line, 1)
    failed = said([*command_line, "--exit-zero"])
    assert (report.parse(failed).verdict, failed["policy"]["name"]) == ("fail", "ours")


def test_a_suppression_that_expired_is_told(job, said, tmp_path):
    expired = suppression(job, "CC003", expires="2020-01-31")
    assert {"CC021", "CC051"} <= rules(said(under_policy(job, tmp_path, f"suppressions:\n{expired}"), 4))


def test_no_policy_makes_a_pass_of_too_little_evidence(job, refused, tmp_path):
    command_line = under_policy(job, tmp_path, f"suppressions:\n{suppression(job, 'CC004')}")
    refused(command_line, tmp_path, 2, "'CC004'")


# Refusals.


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        ("-d black", 4, ""),
        ("-d single", 4, ""),
        ("-d none", 3, "none"),
        ("-d missing", 3, "missing"),
        ("--effort some", 2, "some"),
        *((f"--classes {name}.txt", 2, "class") for name in ("empty", "one", "twice", "missing")),
        ("--no-search --save-triggers found", 2, "--save-triggers"),
        ("--no-search --reference trusted.pt", 2, "--reference"),
        ("--no-search --power", 2, "--power"),
        ("-d labelled --power", 4, "64"),  # as many captions are needed
        ("--save-triggers taken broken.pt", 2, "taken"),  # before the model is read
        ("nan.pt", 3, "visual.proj"),
        ("overflow.pt", 4, ""),
        ("-d labelled --reference copy.pt", 2, "copy.pt"),
        ("-d labelled --reference large.pt", 3, "visual.proj"),
        ("--no-search --base trusted.pt", 2, "--base"),
        ("-d labelled --base copy.pt", 2, "copy.pt"),
        ("-d labelled --base large.pt", 3, "visual.proj"),
        ("-d labelled --base broken.pt", 3, "broken.pt"),
        ("-d labelled --base trusted.pt --base copy.pt", 2, "--base"),
        ("-d labelled --base hf-hub:nobody/nothing", 3, "--download"),
        *((f"-d labelled --references {name}.json", 3, f"{name}.json") for name in ("empty", "nan", "pipe", "large")),
        ("trusted.pt missing.pt --save-triggers found", 2, "--save-triggers"),
        ("trusted.pt missing.pt --report html=page.html", 2, "--report-dir"),
        ("models --report-dir models/reports", 2, "--report-dir"),
    ],
)
def test_what_cannot_be_audited_is_refused(job, refused, monkeypatch, arguments, code, named):
    monkeypatch.chdir(job.folder)
    models = [word for word in arguments.split() if word == "models" or re.fullmatch(r"\w+\.pt", word)]
    models = [word for word in models if not re.search(f"--(reference|base) {word}", arguments)]
    more = [word for word in arguments.split() if word not in models]
    refused(command(job, *more, models=models), job.folder, code, named)


@pytest.mark.parametrize("told", processes.told(2))
def test_several_processes_are_refused(job, monkeypatch, refused, told):
    processes.alike(monkeypatch, told)
    refused(command(job), job.folder, 2, "runs in one process, and here are 2")


# Several models, and plans.


def several(job, *models, more=()):
    return command(job, "--no-search", "--data", job.folder / "labelled", *more, models=models)


def test_a_refused_model_has_a_line_among_the_others(job, said):
    shown = said(several(job, job.folder / "broken.pt", job.model), 3)
    first, second, *_ = (line.split() for line in shown.splitlines())
    assert (first[0], Path(first[1]).name) == ("refused", "broken.pt")
    assert (second[0], Path(second[1]).name) == ("inconclusive", "model.pt")


def test_a_model_that_cannot_be_judged_has_no_report_among_the_others(job, said):
    huge, sound = said(several(job, job.folder / "huge.pt", job.model, more=["--json"]), 4)
    assert (huge["exit_code"], "report" in huge) == (4, False)
    report.parse(sound["report"])


SUFFIXES = ("json", "html", "sarif", "xml", "md")  # of the reports in a folder


def test_each_of_several_models_has_reports_of_its_own(job, tmp_path, said):
    folder, models = tmp_path / "reports", job.folder / "models"
    listed = said(several(job, models, more=["--json", "--report-dir", folder, "--fail-on", "error"]))
    assert [(Path(each["path"]).name, each["exit_code"]) for each in listed] == [("b.pt", 0), ("a.pt", 0)]
    for each in listed:
        report.parse(each["report"])
    names = audit.labels([models / "b.pt", models / "deeper" / "a.pt"])
    assert {path.name for path in folder.iterdir()} == {f"{name}.{suffix}" for name in names for suffix in SUFFIXES}


@pytest.fixture
def small_files_only():
    """Files of at most 16 KiB can be written, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files_only")
@pytest.mark.parametrize("count", [1, 2])
def test_a_full_disk_costs_neither_the_verdict_nor_another_report(job, tmp_path, capsys, count):
    folder = tmp_path / "reports"
    models = [job.model, job.folder / "trusted.pt"][:count]
    assert cli.main(several(job, *models, more=["--report-dir", folder])) == 5
    shown = capsys.readouterr()
    assert "inconclusive" in shown.out.casefold()
    assert str(folder) in shown.err
    written = [path.suffix for path in folder.iterdir()]
    assert written.count(".xml") == count
    assert ".html" not in written


def test_a_folder_with_one_model_answers_as_the_model_does(job, tmp_path, said):
    more = ["--json", "--report-dir", tmp_path / "one"]
    alone = said(several(job, job.folder / "models" / "deeper", more=more), 4)
    assert report.parse(alone).verdict == "inconclusive"
    assert len(list((tmp_path / "one").iterdir())) == len(SUFFIXES)


def test_no_two_reports_have_one_name():
    paths = [Path(name) for name in ("a/x.pt", "a-x.pt", "A/X.pt", "../é 中.pt", "--", "hf-hub:org/model")]
    assert audit.labels(paths) == ["a-x.pt", "a-x.pt-2", "A-X.pt-3", "pt", "model", "hf-hub-org-model"]


def test_an_audit_needs_none_of_the_extras(job, monkeypatch, said):
    loaded = [name for name in sys.modules if name.partition(".")[0] in ("onnxruntime", "pyarrow", "sklearn")]
    for name in ("onnxruntime", "pyarrow", "sklearn", "sklearn.manifold", *loaded):
        monkeypatch.setitem(sys.modules, name, None)
    found = said(command(job, "--no-search", "--json", "--data", job.folder / "labelled"), 4)
    assert found["verdict"] == "inconclusive"


@pytest.fixture
def planned(job, tmp_path, monkeypatch, said):
    """What a dry run tells, which must leave no state."""
    monkeypatch.setenv("CLIPCLEAN_STATE", str(tmp_path))

    def plan(*models):
        plans = said(command(job, "--dry-run", "--json", "--data", job.folder / "labelled", models=models))
        assert list(tmp_path.iterdir()) == []
        return plans

    return plan


def test_a_dry_run_plans_each_model(job, planned):
    assert [plan["dry_run"] for plan in planned(job.folder / "models")] == [True, True]


def test_a_dry_run_tells_what_the_run_would_take(planned):
    assert all(planned()["estimate"][key] > 0 for key in ("seconds", "memory_bytes"))


def test_a_dry_run_refuses_what_is_no_model(job):
    assert cli.main(command(job, "--dry-run", models=(job.folder / "broken.pt",))) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "passes_never"),
    [((), True), (("--power",), False)],  # test backdoors stand for a clean model
)
def test_a_dry_run_says_whether_a_pass_is_possible(job, said, more, passes_never):
    lines = said(command(job, "--dry-run", *more)).splitlines()
    (verdict,) = [line for line in lines if line.startswith("verdict")]
    assert ("never" in verdict) is passes_never


def test_a_dry_run_refuses_what_the_run_could_not_write(job, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert cli.main(command(job, "--dry-run", "--save-triggers", tmp_path / "there")) == 0
    assert cli.main(command(job, "--dry-run", "--save-triggers", tmp_path / "link")) == 2
    (label,) = audit.labels([job.model])
    (tmp_path / "there" / f"{label}.json").symlink_to(tmp_path / "elsewhere")
    assert cli.main(command(job, "--dry-run", "--report-dir", tmp_path / "there")) == 2
    assert not (tmp_path / "elsewhere").exists()
