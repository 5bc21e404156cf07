import json
import os
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from clips import build

from clipclean import metrics_log, progress
from clipclean.config import recipe
from clipclean.config.effort import EFFORTS
from clipclean.errors import ResourceError
from clipclean.jobs import estimate
from clipclean.jobs.estimate import Estimate, JobSize, Stage, Work
from clipclean.methods import walk_back
from clipclean.progress import Listener

SHORT = [
    "loss.preserve_weight=0",
    "train.max_steps=10",
    "train.batch_size=16",
    "train.epochs=100",
    "train.warmup_steps=1",
]
SIZE = JobSize(images=100, classes=10, templates=7, panel=9, pairs=64)


@pytest.fixture(scope="module")
def clip():
    return build()


# The passes of a standard search for ten classes: 22 steps of 6 images in six families, and half of three times as many for warps; 26 of 12 for
# three classes in five.
TOWARDS = (6 * 22 + 33) * 10 * 6 + 5 * 3 * 26 * 12
TRIED = 96 * 9 + 126 * 8 + 176 * 4  # looks under panel, tiles and what was found


def test_a_measurement_is_counted_by_captions_beside_images():
    # 70 captions; 100 images under no trigger and nine
    assert estimate.measuring(SIZE) == Work(images=1000, captions=70)
    # of many images all under named triggers, 64 under those of the panel
    assert estimate.measuring(replace(SIZE, images=300, suspected=2)) == Work(images=900 + 576, captions=70)


def test_the_panel_of_an_audit_is_counted_as_looks():
    # looks in bfloat16, and one in eight of the images exactly
    looks = Work(600 + 64 * 9 / 8, 70, glanced=64 * 9)
    assert estimate.measuring(replace(SIZE, images=600), is_audit=True) == looks


def test_a_search_is_counted_by_its_passes():
    free = 2 * 40 * 16  # 40 of 16 without a target in two
    # of looks one in eight exactly; where searches without a target end; waves to start from
    looks = TRIED + 4 * 7 * 40
    work = Work(100 + looks / 8, searched=TOWARDS + free, glanced=looks + 2 * 60 + 4 * 1248)
    assert estimate.searching(EFFORTS["standard"], SIZE) == work


def test_the_search_of_a_reference_is_counted_towards_classes_alone():
    # nothing is searched without a target, and nothing judged
    reference = Work(100 + TRIED / 8, searched=TOWARDS, glanced=TRIED + 4 * 1248)
    assert estimate.searching(EFFORTS["standard"], SIZE, is_reference=True) == reference


def test_an_audit_that_ends_early_leaves_out_its_later_families():
    # blend, additive and wave, with what these find and begin from; a quick one has nothing to leave out
    work_left_out_if_quiet = Work(
        4 * 3 * 40 / 8, searched=3 * 10 * 22 * 6 + 2 * 3 * 26 * 12, glanced=4 * 3 * 40 + 4 * 1248
    )
    assert estimate.work_left_out_if_quiet(EFFORTS["standard"], SIZE) == work_left_out_if_quiet
    assert estimate.work_left_out_if_quiet(EFFORTS["quick"], SIZE) is None


def test_a_screening_is_counted_by_its_looks():
    # three at each of 20 images, and their captions
    assert estimate.screening(20) == Work(60, 20)


@pytest.mark.parametrize(("side", "most"), [(16, 144), (32, 144), (112, 144), (224, 62), (448, 16)])
def test_a_search_keeps_the_activations_of_no_more_images_than_fit(side, most):
    # standard: 24 classes of 6 images, fewer where MOST_NUMBERS_A_PASS holds fewer, but no fewer than one row: 16 images without a target
    assert estimate.images_kept_at_once(EFFORTS["standard"], side=side) == most


def short(name):
    return recipe.override(recipe.load(name), SHORT)


def trained(name):
    """The counted work of a short training by this recipe."""
    return estimate.training(short(name), SIZE)


def test_a_training_is_counted_by_its_steps():
    # ten steps of 16 pairs, and ten classes in seven templates
    assert trained("mmcl") == Work(captions=70, pairs=160)


def test_a_search_looks_at_some_images_under_each_trigger_of_the_grid():
    counts = [estimate.searching(EFFORTS["quick"], replace(SIZE, grid=grid)).glanced for grid in (0, 7)]
    assert counts[1] == counts[0] + 112  # 16 images under each


def test_a_training_on_two_views_is_counted_twice():
    assert trained("cleanclip").pairs == 320


def test_a_preservation_is_counted_by_both_models():
    work = estimate.training(recipe.override(short("cleanclip"), ["loss.preserve_weight=2"]), SIZE)
    assert (work.pairs, work.trained_images, work.images) == (
        320,
        160,
        160,
    )  # the clean images once more, and by the original


def test_a_distillation_is_counted_by_images_alone():
    work = trained("distill")
    assert (work.pairs, work.trained_images, work.images) == (0, 320, 160)  # clean and changed, and by the original


def test_an_unlearning_is_counted_by_its_rounds():
    few = ["unlearn.steps=10", "unlearn.max_rounds=1", "train.batch_size=16"]
    work = estimate.training(recipe.override(recipe.load("unlearn"), few), SIZE)
    assert (work.pairs, work.trained_images) == (
        0,
        2 * 10 * 16 * 3,
    )  # clean and under two triggers; one more round settles
    # after a whole search, two classes in six families, 11 steps of 6 images, three times as many for warps, and in five of them 13 of 12
    again = (6 + 3) * 2 * 11 * 6 + 5 * 2 * 13 * 12
    assert work.searched == replace(EFFORTS["standard"], halves=False).cost(10) + again


def test_auto_is_counted_by_all_that_it_may_try():
    auto = recipe.load("auto")
    step = recipe.override(recipe.load("mmcl"), SHORT)
    other = recipe.override(step, ["train.lr=1.0e-4"])
    one = estimate.work_of_choosing(auto, [[step]], SIZE)
    two = estimate.work_of_choosing(auto, [[step], [step, other]], SIZE)
    # trained on the copy, beyond the part that both begin with, and on the model as the longer one; refinetuned for 60 steps of 64 pairs
    assert two.on_copy[1].pairs == 160 + 60 * 64
    assert two.longest.pairs - one.longest.pairs == 160
    # measured under three test backdoors at each share of its way, and once refinetuned
    assert two.on_copy[1].images == (1 + len(walk_back.WALK_SHARES) + 1) * 400
    assert two.first == one.longest
    assert one.first.pairs == 160 + 60 * 64
    assert two.planting.pairs == 150 * 64


def test_without_test_backdoors_no_candidate_is_tried_on_a_copy():
    auto = recipe.override(recipe.load("auto"), ["auto.test_backdoors=0"])
    assert estimate.work_of_choosing(auto, [[recipe.override(recipe.load("mmcl"), SHORT)]], SIZE).on_copy == (Work(),)


@contextmanager
def unchanged(clip):
    """Whatever is done in a with-block draws no random number, and leaves the weights alone."""
    before, weights = torch.get_rng_state(), clip.net.state_dict()["visual.proj"].clone()
    yield
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(clip.net.state_dict()["visual.proj"], weights)
    assert all(parameter.grad is None for parameter in clip.net.parameters())


def test_the_rate_of_a_batch_is_taken_without_a_change(clip):
    job = {"precision": "bf16", "effort": "quick", "recipes": [recipe.load("mmcl")]}
    with unchanged(clip):
        whole = estimate.estimated(clip, [Stage("all", Work(100, 10, 10, 10, 10))], **job)
    assert (whole.seconds > 0, whole.early) == (True, None)
    assert whole.memory > 4 * estimate.weight_bytes(clip)


def test_an_early_end_saves_its_share_of_the_time(clip):
    stages = [Stage("search", Work(searched=2000), Work(searched=1000))]
    with unchanged(clip):
        half = estimate.estimated(clip, stages, precision="fp32")
    assert half.early - estimate.AUDIT_ENDING == pytest.approx((half.seconds - estimate.AUDIT_ENDING) / 2)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (89, "89 s"), (300, "5 min"), (3600, "60 min"), (12_000, "3 h 20 min")]
)
def test_a_time_is_told_in_words(seconds, words):
    assert estimate.in_words(seconds) == words


@pytest.mark.parametrize("seconds", [0.2, 89, 300, 3600, 12_000])
def test_what_would_be_faster_is_told_of_an_hour_or_more(seconds):
    advice = " ".join(Estimate(seconds, 1, effort="standard", device="cpu").faster)
    assert ("--effort quick" in advice) == ("--device cuda" in advice) == (seconds >= 3600)
    assert "--effort quick" not in Estimate(seconds, 1, effort="quick", device="cuda").faster


def test_an_estimate_is_computed_only_where_somebody_listens(clip):
    heard, computed = [], []

    def expected():
        computed.append(1)
        return Estimate(100, 2**30)

    estimate.tell(clip, expected, precision="fp32")
    assert computed == []
    with progress.heard(Listener(words=heard.append)):
        estimate.tell(clip, expected, precision="fp32")
    assert "2 min" in heard[0]


def logged(folder, *steps):
    with metrics_log.logged(folder, ()):
        for done, values in steps:
            progress.record(done, values)


def lines_of_log(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_each_step_is_a_line_of_json(tmp_path):
    logged(tmp_path / "logs", (1, {"lr": 0.1, "loss": 2.0, "contrastive": 1.5}), (2, {"loss": 1.0}))
    rows = lines_of_log(tmp_path / "logs")
    assert [{key: value for key, value in row.items() if key != "seconds"} for row in rows] == [
        {"stage": 1, "step": 1, "lr": 0.1, "loss": 2.0, "contrastive": 1.5},
        {"stage": 1, "step": 2, "loss": 1.0},
    ]


def test_a_count_that_begins_again_is_another_stage(tmp_path):
    logged(tmp_path / "logs", *((step, {"loss": 1.0}) for step in (1, 2, 1)))
    logged(tmp_path / "logs", (2, {"loss": 1.0}))  # a run that goes on
    stages = [(row["stage"], row["step"]) for row in lines_of_log(tmp_path / "logs")]
    assert stages == [(1, 1), (1, 2), (2, 1), (1, 2)]


def test_a_run_without_a_step_makes_no_log(tmp_path):
    logged(tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
def test_what_somebody_planted_in_the_place_of_a_log_is_not_written_to(tmp_path, kind):
    name = metrics_log.METRICS
    folder, precious = tmp_path / "logs", tmp_path / "thesis.txt"
    folder.mkdir()
    if kind == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to(precious)
    if kind == "link":
        precious.write_text("years of work")
    with pytest.raises(ResourceError):
        metrics_log.check_log(folder)
    with pytest.raises(ResourceError):  # it came later
        logged(folder, (1, {"loss": 1.0}))
    assert precious.exists() == (kind == "link")
    assert kind != "link" or precious.read_text() == "years of work"
