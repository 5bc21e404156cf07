"""Learning rates found by trials: the rule, worked by hand; a run that finds one, and one that cannot; what is refused."""

import pytest
import short
import tiny

from clipclean import cli, progress, report
from clipclean.auto import rates
from clipclean.schema.report import RateTrialRecord


def trial(lr, left, lost=0.0):
    """A test backdoor that acted on nine tenths of the images; what is left is known to two points."""
    told = {"trigger": "patch", "target": "cat", "planted": 0.9, "interval": (left - 0.02, left + 0.02)}
    return RateTrialRecord(lr=lr, steps=60, left=left, accuracy_lost=lost, seconds=1.0, **told)


@pytest.mark.parametrize(
    ("trials", "chosen", "following"),
    [
        ([trial(1e-5, 0.89), trial(4e-5, 0.5), trial(1.6e-4, 0.17)], 1.6e-4, None),  # 0.18 is a fifth
        ([trial(1e-5, 0.1), trial(4e-5, 0.0)], 1e-5, None),  # the smallest that is enough
        ([trial(1e-5, 0.7, 0.005), trial(4e-5, 0.4, 0.02), trial(1.6e-4, 0.0, 0.03)], 4e-5, None),  # within two points
        ([trial(1e-5, 0.6), trial(4e-5, 0.6)], 1e-5, 1.6e-4),
        ([trial(1e-3, 0.89), trial(4e-3, 0.885)], None, None),  # 0.9 is within its interval; no rate may be 0.016
        ([trial(1e-5, 0.0, 0.03)], None, 2.5e-6),  # its own costs too much, and so would a higher one
        ([trial(1e-5, 0.0, 0.05), trial(2.5e-6, 0.0, 0.03)], None, 6.25e-7),
        ([trial(1e-5, 0.0, 0.05), trial(2.5e-6, 0.3, 0.01)], 2.5e-6, None),  # a lower one removes less
    ],
)
def test_the_smallest_rate_is_taken_that_is_enough_or_else_removes_most_within_the_budget(trials, chosen, following):
    found = rates.best(trials, 0.02)
    assert (found and found.lr) == chosen
    assert rates.following(trials, 0.02) == (following and pytest.approx(following))
    assert rates.best([], 0.02) is None


def command(job, *more, plant_steps=2, shown=60):
    shown = ["--eval-data", tiny.labelled(job.folder / "labelled", count=shown)] if shown else []
    changes = ("train.lr=1e-4", "train.lr=auto", f"auto.plant_steps={plant_steps}", "auto.batch_size=48")
    given = [part for change in changes for part in ("--set", change)]
    return job.sanitize(*shown, *given, "--keep-failed", *more)


def test_where_no_test_backdoor_is_learned_the_recipes_own_rate_stays_and_the_verdict_is_open(
    tmp_path, unread, monkeypatch, capsys
):
    job = tiny.job(tmp_path / "job", count=64)
    late = progress.Listener(steps=lambda what, *_: short.an_hour_passes(monkeypatch) if "planting" in what else None)
    with progress.heard(late):  # time is over inside the trials
        assert cli.main(command(job, "--max-minutes", 50)) == 4
    assert capsys.readouterr().err.count("--max-minutes") == 1
    assert not job.out.exists()
    assert cli.main(command(job)) == 4
    found = tiny.result(job.out)
    assert found["training"]["rates"] == {"chosen": 1e-4, "found": False, "trials": []}
    assert "CC061" in {each["rule"] for each in found["findings"] if each["level"] == "warning"}
    values = found["recipe"]["resolved"]["train"]
    assert (values["lr"], values["lr_trials"]) == (1e-4, 0)


@pytest.mark.parametrize(
    ("count", "shown", "recipe", "code", "named"),
    [
        (48, 60, "mmcl@tiny", 4, "48 pairs"),
        (80, 0, "mmcl@tiny", 4, "16 images"),  # a fifth is kept
        (64, 60, "unlearn@tiny", 2, "train.lr=auto"),
        (64, 60, "auto", 2, "train.lr=auto"),
    ],
)
def test_what_cannot_be_tried_is_refused_and_nothing_is_written(tmp_path, capsys, count, shown, recipe, code, named):
    job = tiny.job(tmp_path / "job", count=count)
    before = job.model.read_bytes()
    assert cli.main(command(job, "--recipe", recipe, shown=shown)) == code
    assert named in capsys.readouterr().err
    assert (job.out.exists(), job.model.read_bytes()) == (False, before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "control", "steps"), [("mmcl@tiny", "mmcl@usual", 300), ("supervised", "mmcl", 150)]
)
def test_a_rate_is_found_on_a_test_backdoor_whatever_it_takes_to_plant_one(tmp_path, unread, recipe, control, steps):
    job = tiny.job(tmp_path / "job", count=96)
    more = ("--data", tiny.labelled(job.folder / "own", count=96), "--recipe", recipe, "--max-accuracy-loss", 0.5)
    # At the rate of mmcl@usual, 1e-5, none is planted.
    assert cli.main(command(job, *more, "--set", f"auto.control={control}", plant_steps=steps)) in (0, 4)
    found = tiny.result(job.out)
    told = found["training"]["rates"]
    assert told["trials"][0]["planted"] >= 0.5
    assert [each["lr"] for each in told["trials"]] == pytest.approx([1e-4 * 4**n for n in range(len(told["trials"]))])
    assert max(each["lr"] for each in found["training"]["losses"]) == pytest.approx(told["chosen"])
    for form in ("html", "markdown", "text"):
        assert "earning rate" in report.FORMATS[form](report.parse(found))
