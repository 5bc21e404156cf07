import json
import os

import pytest

from clipclean import progress
from clipclean.errors import ResourceError
from clipclean.jobs import log_files


def logged(folder, *steps):
    with log_files.written(folder, ()):
        for done, values in steps:
            progress.record(done, values)


def test_each_step_is_a_line_of_json_a_count_that_begins_again_another_stage_and_no_step_makes_nothing(tmp_path):
    logged(tmp_path / "logs", (1, {"lr": 0.1, "loss": 2.0, "contrastive": 1.5}), (2, {"loss": 1.0}), (1, {"loss": 3.0}))
    logged(tmp_path / "logs", (2, {"loss": 1.0}))  # a run that goes on
    rows = [json.loads(line) for line in (tmp_path / "logs" / "metrics.jsonl").read_text().splitlines()]
    assert [{key: value for key, value in row.items() if key != "seconds"} for row in rows[:2]] == [
        {"stage": 1, "step": 1, "lr": 0.1, "loss": 2.0, "contrastive": 1.5},
        {"stage": 1, "step": 2, "loss": 1.0},
    ]
    assert [(row["stage"], row["step"]) for row in rows[2:]] == [(2, 1), (1, 2)]
    with log_files.written(tmp_path / "none", ()):
        pass
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
def test_what_somebody_planted_in_the_place_of_a_log_is_refused_and_left_alone(tmp_path, kind):
    name = log_files.METRICS
    folder, precious = tmp_path / "logs", tmp_path / "thesis.txt"
    folder.mkdir()
    if kind == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to(precious)
    if kind == "link":
        precious.write_text("years of work")
    with pytest.raises(ResourceError):
        log_files.check(folder)
    with pytest.raises(ResourceError):  # it came later
        logged(folder, (1, {"loss": 1.0}))
    assert precious.exists() == (kind == "link")
    assert kind != "link" or precious.read_text() == "years of work"
