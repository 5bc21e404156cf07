import json
import os
from dataclasses import replace

import pytest
import torch
from clips import build

from clipclean import metrics_log, progress
from clipclean.config import recipe
from clipclean.config.effort import EFFORTS
from clipclean.errors import ResourceError
from clipclean.jobs import estimate
from clipclean.jobs.estimate import Estimate, Size, Stage, Work
from clipclean.methods import walk_back
from clipclean.progress import Listener

SHORT = [
    "loss.preserve_weight=0",
    "train.max_steps=10",
    "train.batch_size=16",
    "train.epochs=100",
    "train.warmup_steps=1",
]
SIZE = Size(images=100, classes=10, templates=7, panel=9, pairs=64)


@pytest.fixture(scope="module")
def clip():
    return build()


def test_an_audit_is_counted_by_captions_images_and_passes():
    # 70 captions; 100 images under no trigger and nine
    assert estimate.measuring(SIZE) == Work(images=1000, captions=70)
    # of many images all under named triggers, 64 under those of the panel
    assert estimate.measuring(replace(SIZE, images=300, suspected=2)) == Work(images=900 + 576, captions=70)
    # of an audit these are looks in bfloat16, and one in eight of the images exactly
    looks = Work(600 + 64 * 9 / 8, 70, glanced=64 * 9)
    assert estimate.measuring(replace(SIZE, images=600), is_audit=True) == looks
    # 22 steps of 6 images for ten classes in six families, and half of three times as many for warps; 40 of 16 without a target in two; 26 of 12 for
    # three classes in five
    towards, free = (6 * 22 + 33) * 10 * 6 + 5 * 3 * 26 * 12, 2 * 40 * 16
    # under panel, tiles and what was found, of which one in eight exactly; where searches without a target end; waves to start from
    tried = 96 * 9 + 126 * 8 + 176 * 4
    looks = tried + 4 * 7 * 40
    work = Work(100 + looks / 8, searched=towards + free, glanced=looks + 2 * 60 + 4 * 1248)
    assert estimate.searching(EFFORTS["standard"], SIZE) == work
    # of a clean model to compare with nothing is searched without a target, and nothing judged
    reference = Work(100 + tried / 8, searched=towards, glanced=tried + 4 * 1248)
    assert estimate.searching(EFFORTS["standard"], SIZE, is_reference=True) == reference
    # an audit that ends early leaves blend, additive and wave out, with what these find and begin from; a quick one has nothing to leave out
    work_left_out_if_quiet = Work(
        4 * 3 * 40 / 8, searched=3 * 10 * 22 * 6 + 2 * 3 * 26 * 12, glanced=4 * 3 * 40 + 4 * 1248
    )
    assert estimate.work_left_out_if_quiet(EFFORTS["standard"], SIZE) == work_left_out_if_quiet
    assert estimate.work_left_out_if_quiet(EFFORTS["quick"], SIZE) is None
    # screening: three looks at each of 20 images, and their captions
    assert estimate.screening(20) == Work(60, 20)


@pytest.mark.parametrize(("side", "most"), [(16, 144), (32, 144), (112, 144), (224, 62), (448, 16)])
def test_a_search_keeps_the_activations_of_the_images_that_fit_and_of_no_more_than_there_are(side, most):
    # standard: 24 classes of 6 images, fewer where MOST_NUMBERS_A_PASS holds fewer, but no fewer than one row: 16 images without a target
    assert estimate.together(EFFORTS["standard"], side=side) == most


def test_a_cleaning_is_counted_by_steps_and_views():
    plain = recipe.override(recipe.load("mmcl"), SHORT)
    # ten steps of 16 pairs, and ten classes in seven templates
    assert estimate.training(plain, SIZE) == Work(captions=70, pairs=160)
    counts = [estimate.searching(EFFORTS["quick"], replace(SIZE, grid=grid)).glanced for grid in (0, 7)]
    assert counts[1] == counts[0] + 112  # 16 images under each
    twice = recipe.override(recipe.load("cleanclip"), SHORT)
    assert estimate.training(twice, SIZE).pairs == 320
    kept = estimate.training(recipe.override(twice, ["loss.preserve_weight=2"]), SIZE)
    assert (kept.pairs, kept.shown, kept.images) == (320, 160, 160)  # the clean images once more, and by the original
    seen = estimate.training(recipe.override(recipe.load("distill"), SHORT), SIZE)
    assert (seen.pairs, seen.shown, seen.images) == (0, 320, 160)  # clean and changed, and by the original
    few = ["unlearn.steps=10", "unlearn.max_rounds=1", "train.batch_size=16"]
    rounds = recipe.override(recipe.load("unlearn"), few)
    work = estimate.training(rounds, SIZE)
    assert (work.pairs, work.shown) == (0, 2 * 10 * 16 * 3)  # clean and under two triggers; one more round settles
    # after a whole search, two classes in six families, 11 steps of 6 images, three times as many for warps, and in five of them 13 of 12
    again = (6 + 3) * 2 * 11 * 6 + 5 * 2 * 13 * 12
    assert work.searched == replace(EFFORTS["standard"], halves=False).cost(10) + again


def test_auto_is_counted_by_all_that_it_may_try():
    auto = recipe.load("auto")
    step = recipe.override(recipe.load("mmcl"), SHORT)
    other = recipe.override(step, ["train.lr=1.0e-4"])
    one = estimate.trying(auto, [[step]], SIZE)
    two = estimate.trying(auto, [[step], [step, other]], SIZE)
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
    assert estimate.trying(auto, [[recipe.override(recipe.load("mmcl"), SHORT)]], SIZE).on_copy == (Work(),)


def test_the_rate_of_a_batch_leaves_random_numbers_and_weights_alone(clip):
    before, weights = torch.get_rng_state(), clip.net.state_dict()["visual.proj"].clone()
    asked = {"precision": "bf16", "effort": "quick", "recipes": [recipe.load("mmcl")]}
    found = estimate.estimated(clip, [Stage("all", Work(100, 10, 10, 10, 10))], **asked)
    assert (found.seconds > 0, found.early) == (True, None)
    half = estimate.estimated(clip, [Stage("search", Work(searched=2000), Work(searched=1000))], precision="fp32")
    assert half.early - estimate.AUDIT_ENDING == pytest.approx((half.seconds - estimate.AUDIT_ENDING) / 2)
    assert found.memory > 4 * estimate.weight_bytes(clip)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(clip.net.state_dict()["visual.proj"], weights)
    assert all(parameter.grad is None for parameter in clip.net.parameters())


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (89, "89 s"), (300, "5 min"), (3600, "60 min"), (12_000, "3 h 20 min")]
)
def test_a_time_is_told_in_words_and_what_would_be_faster_of_more_than_an_hour_only(seconds, words):
    assert estimate.in_words(seconds) == words
    told = " ".join(Estimate(seconds, 1, effort="standard", device="cpu").faster)
    assert ("--effort quick" in told) == ("--device cuda" in told) == (seconds >= 3600)
    assert "--effort quick" not in Estimate(seconds, 1, effort="quick", device="cuda").faster


def test_it_is_told_where_somebody_listens_and_not_computed_otherwise(clip):
    heard, made = [], []

    def expected():
        made.append(1)
        return Estimate(100, 2**30)

    estimate.tell(clip, expected, precision="fp32")
    assert made == []
    with progress.heard(Listener(words=heard.append)):
        estimate.tell(clip, expected, precision="fp32")
    assert "2 min" in heard[0]


def logged(folder, *steps):
    with metrics_log.logged(folder, ()):
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
    with metrics_log.logged(tmp_path / "none", ()):
        pass
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
def test_what_somebody_planted_in_the_place_of_a_log_is_refused_and_left_alone(tmp_path, kind):
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
