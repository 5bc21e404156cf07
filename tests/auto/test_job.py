import json

import pytest
import short
import tiny

from clipclean import checkpoint, cli, detect, progress
from clipclean.data import captions
from clipclean.jobs import searching

FAR = "train.batch_size=16, train.warmup_steps=1, train.max_steps="
SHORT = f"train.walk=0.05, {FAR}"
CANDIDATES = [f"mmcl({SHORT}2)", f"mmcl({SHORT}2) + mmcl({SHORT}3)"]


# A whole run, on a model too small to learn a test backdoor, without the search.


def command(job, *more, candidates=CANDIDATES):
    settings = {
        "candidates": json.dumps(candidates),
        "test_backdoors": 2,
        "plant_steps": 4,
        "batch_size": 16,
        "refinetune_steps": 2,
    }
    settings |= {"plant_walk": 0.05, "refinetune_walk": 0.05}
    changes = [part for key, value in settings.items() for part in ("--set", f"auto.{key}={value}")]
    given = ["--data", job.data, "--out", job.out, "--arch", job.arch, *job.words(), "--recipe", "auto", "--quiet"]
    return [*map(str, ["sanitize", job.model, *given, *changes, *more])]


@pytest.fixture(params=[("CC004", "Nothing suspected.")])
def unsearched(monkeypatch, request):
    """The search takes seconds even here, and has tests of its own."""

    def measured(settings, clip, evidence, references, /, *, what, **_):
        found = searching.measure(clip, evidence, what=f"measuring {what}", in_time=True)
        return detect.AuditResult(found, None, request.param, 0.0)

    monkeypatch.setattr(searching, "audit_clip", measured)
    short.exact(monkeypatch)
    captions.names_of("dog")  # reads WordNet, in seconds that no test is charged for


def test_a_run_that_its_deadline_ends_before_the_audit_writes_nothing(job, capsys, unread, unsearched):
    assert cli.main(command(job, "--max-minutes", "1e-6", candidates=["unlearn", *CANDIDATES])) == 4
    assert capsys.readouterr().err.count("--max-minutes") == 1
    assert not job.out.exists()


def test_a_run_that_its_deadline_ended_after_the_audit_goes_on_by_the_same_command(
    job, unread, unsearched, monkeypatch
):
    def begun(what, done, _total):
        if what.endswith(": finetuning") and not done:
            short.an_hour_passes(monkeypatch)  # once the candidate is begun

    arguments = command(job, candidates=["unlearn", *CANDIDATES])
    with progress.heard(progress.Listener(steps=begun)):
        assert cli.main([*arguments, "--max-minutes", "60"]) == 4
    cut = tiny.result(job.out)
    assert (cut["auto"]["chosen"], cut["exports"]) == ("nothing", [])
    assert "CC024" in {each["rule"] for each in cut["findings"]}
    arguments.append("--force")
    assert cli.main(arguments) == 4  # nothing took, nothing acted, and five images are few
    report = tiny.result(job.out)
    # nothing to unlearn; not needed
    assert [bool(each["why_not"]) for each in report["auto"]["candidates"]] == [True, False, True]
    assert report["auto"]["chosen"].startswith("mmcl")
    assert report["auto"]["test_backdoors"] == []
    assert [f["rule"] for f in report["findings"] if f["level"] == "warning"] == ["CC004", "CC020", "CC061"]
    assert report["training"]["steps"] == 2
    assert report["auto"]["rebound"]["steps"] == 2
    assert report["exports"][0]["tensor_sha256"] == checkpoint.digest(checkpoint.read(job.out).tensors)
    assert {path.name for path in job.folder.iterdir()} == tiny.FILES | {"out"}


def costly(job):
    """One candidate, which costs more than nothing."""
    right = tiny.labelled_by_answer(job, job.folder / "labelled")
    shown = ("--eval-data", right, "--max-accuracy-loss", 0, "--keep-failed")
    return command(job, *shown, candidates=[f"mmcl({FAR}3)"])


def test_where_every_candidate_costs_too_much_no_weights_are_written(job, unread, unsearched):
    assert cli.main(costly(job)) == 4
    report = tiny.result(job.out)
    assert (report["auto"]["changed"], report["exports"]) == (False, [])
    assert [each["level"] for each in report["findings"] if each["rule"] == "CC063"] == ["warning"]
    assert tiny.names(job.out) >= {"report.json", "report.html", "SHA256SUMS"}


@pytest.mark.parametrize("unsearched", [None], indirect=True)
def test_a_model_whose_audit_passes_is_written_as_it_was(job, unread, unsearched):
    shown = ("--eval-data", tiny.labelled(job.folder / "labelled"), "--max-accuracy-loss", 0)
    assert cli.main(command(job, *shown, candidates=[f"mmcl({FAR}3)"])) == 0
    report = tiny.result(job.out)
    assert (report["auto"]["chosen"], report["auto"]["candidates"], report["training"]["steps"]) == ("nothing", [], 0)
    assert report["after"]["measurements"]["accuracy_lost"]["value"] == 0
    assert report["exports"][0]["tensor_sha256"] == checkpoint.digest(checkpoint.read(job.model).tensors)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--set", "auto.candidates=[unlern]"], "'unlearn'"),
        (["--no-panel"], "--no-panel"),  # without audits it has nothing to go by
        (["--no-search"], "--no-search"),
        (["--reference", "model.pt"], "weights"),  # the model itself
        (["--recipe", "mmcl", "--reference", "model.pt"], "weights"),
        (["--recipe", "mmcl", "--reference", "model.pt", "--no-search"], "--reference"),  # nothing compares
    ],
)
def test_a_wrong_command_line_is_refused(job, capsys, monkeypatch, more, named):
    monkeypatch.chdir(job.folder)
    assert cli.main(command(job, *more)) == 2
    assert named in capsys.readouterr().err
    assert not job.out.exists()


@pytest.mark.slow
def test_every_stage_runs_through_on_a_planted_model_beside_the_clean_one(victim, tmp_path, monkeypatch, unread):
    short.searches(monkeypatch)
    short.exact(monkeypatch)
    job = victim.job._replace(model=victim.job.folder / "planted.pt", folder=tmp_path)
    candidate = "unlearn(unlearn.effort=quick, unlearn.max_rounds=1, unlearn.steps=10, train.batch_size=16)"
    more = ("--eval-data", victim.job.folder / "labelled", "--set", "auto.effort=quick", "--keep-failed")
    # Its accuracy is near chance: nothing is suspected, and a loss over the budget would leave the original.
    more += ("--reference", victim.job.model, "--max-accuracy-loss", 0.5)
    assert cli.main(command(job, *more, candidates=[candidate])) in (0, 1, 4)
    report = tiny.result(job.out)
    assert [entry["candidate"] for entry in report["auto"]["candidates"]] == [candidate]
    assert report["training"]["unlearning"]["rounds"]
    assert "CC004" not in {finding["rule"] for finding in report["findings"]}
    for side in ("before", "after"):
        search = report[side]["measurements"]["search"]
        assert (search["calibration"]["kind"], search["calibration"]["models"]) == ("reference", 1)
        assert search["found"]
    assert (report["auto"]["rebound"] is not None) == report["auto"]["changed"] == (report["training"]["steps"] > 0)
    assert bool(report["exports"]) == report["auto"]["changed"]  # the original's weights are no result, but of a pass
