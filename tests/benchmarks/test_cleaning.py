import argparse
import json

import pytest


@pytest.fixture(scope="module")
def cleaning(script):
    return script("cleaning")


def entry(name, *, trigger, kind):
    return {"name": name, "half": "report", "trigger": trigger, "target": trigger and "owl", "kind": kind}


PATCH = entry("report-vit-planted-1-patch", trigger="patch:size=0.25,seed=3", kind="planted")
WEAK = entry("report-vit-planted-2-warp", trigger="warp:strength=5,seed=4", kind="planted")
CLEAN = entry("report-vit-clean-1", trigger=None, kind="clean")


@pytest.fixture
def folders(tmp_path):
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    for each, took in ((PATCH, True), (WEAK, False), (CLEAN, None)):
        (zoo / f"{each['name']}.json").write_text(json.dumps({"entry": each, "took": took}))
    (zoo / "choose-vit-clean-1.json").write_text(json.dumps({"entry": CLEAN | {"half": "choose"}, "took": None}))
    out = tmp_path / "out"
    out.mkdir()
    return argparse.Namespace(
        zoo=zoo,
        out=out,
        half="report",
        methods=["unlearn@tiny", "par@tiny"],
        only=None,
        seeds=[0],
        table=True,
        auto=None,
        pairs=[],
        images=None,
    )


def figures(each, *, excess, accuracy, under=0.4):
    told = {
        "accuracy": accuracy,
        "excess": excess,
        "interval": [0.0, 0.1],
        "n": 399,
        "under_trigger": under,
        "distance": 0.2,
    }
    return told if each["trigger"] else told | dict.fromkeys(("excess", "interval", "n", "under_trigger", "distance"))


def cell(each, method, *, excess, accuracy, seed=0, images=None):
    """A cell of the results, its excess a point larger after the refinetune test."""
    return {
        "entry": each,
        "seed": seed,
        "method": method,
        "pictures": images and images.name,
        "verdict": "pass",
        "given": 4299,
        "before": figures(each, excess=0.9, accuracy=0.5, under=0.1),
        "after": figures(each, excess=excess, accuracy=accuracy),
        "rebound": figures(each, excess=excess and excess + 0.01, accuracy=accuracy),
        "processor_seconds": 90.0,
    }


def put(cleaning, folders, each, method, *, seed=0, images=None, **figures):
    path = cleaning.cell_of(folders, each, method, seed, images)
    path.write_text(json.dumps(cell(each, method, seed=seed, images=images, **figures)))


def test_victims_that_took_come_before_clean_models_of_the_same_half(cleaning, folders):
    assert [each["name"] for each in cleaning.models(folders)] == [PATCH["name"], CLEAN["name"]]
    folders.only = [CLEAN["name"]]
    assert [each["name"] for each in cleaning.models(folders)] == [CLEAN["name"]]


def test_the_table_is_made_of_the_cells_that_are_there(cleaning, folders):
    put(cleaning, folders, PATCH, "unlearn@tiny", excess=0.02, accuracy=0.49)
    put(cleaning, folders, CLEAN, "unlearn@tiny", excess=None, accuracy=0.505)
    put(cleaning, folders, PATCH, "unlearn@tiny:data.max_pairs=100", excess=0.5, accuracy=0.3)  # of another table
    told = cleaning.table(folders, cleaning.cells(folders, folders.methods))
    assert (
        "| vit-planted-1-patch | patch:size=0.25 → owl | `unlearn@tiny` | 1 | 0.900 → 0.020 (0.000 to 0.100, n 399) | 0.030 | "
        "0.500 → 0.490 | 0.100 → 0.400 | 0.200 → 0.200 | pass | 90 |"
    ) in told
    assert "| vit-clean-1 | nothing | `unlearn@tiny` | 1 | – | – | 0.500 → 0.505 | – | – | pass | 90 |" in told
    # 100 * (0.5 - 0.49) and 100 * (0.5 - 0.505); 0.4 / 0.49
    assert told.endswith(
        "- `unlearn@tiny`: 1 runs on victims: excess ASR at most 0.01 in 0, at most 0.05 in 1, mean 0.020, after a refinetune test 0.030; "
        "CA lost 1.0 points on average, at most 1.0; PA 0.82 of CA; verdict pass. 1 runs on clean models: CA lost -0.5 points on "
        "average, at most -0.5; verdict pass."
    )


def test_several_seeds_are_one_row_with_their_range(cleaning, folders):
    folders.seeds = [0, 1]
    for seed, left in ((0, 0.02), (1, 0.04)):
        put(cleaning, folders, PATCH, "par@tiny", excess=left, accuracy=0.49, seed=seed)
    told = cleaning.table(folders, cleaning.cells(folders, folders.methods))
    assert "| `par@tiny` | 2 | 0.900 → 0.030 [0.020, 0.040] | 0.040 [0.030, 0.050] |" in told


def test_methods_seeds_and_other_images_have_cells_of_their_own(cleaning, folders, tmp_path):
    cells = {
        cleaning.cell_of(folders, PATCH, method, seed, images)
        for method in ("par@tiny", "par@tiny:train.lr=1e-3", "released")
        for seed in (0, 1)
        for images in (None, tmp_path)
    }
    assert len(cells) == 12


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("released", "CleanCLIP as released"),
        ("par@tiny", "`par@tiny`"),
        ("cleanclip@tiny:loss.self_supervised_weight=4", "`cleanclip@tiny` with λ₂ 4"),
    ],
)
def test_a_method_is_shown_in_the_words_of_the_paper(cleaning, method, words):
    assert cleaning.shown(method) == words


def test_the_means_stand_by_the_number_of_pairs(cleaning, folders, tmp_path):
    folders.pairs, folders.only, folders.methods = [200, 1000], [PATCH["name"]], ["unlearn@tiny"]
    for count, left in ((200, 0.3), (1000, 0.1)):
        put(cleaning, folders, PATCH, f"unlearn@tiny:data.max_pairs={count}", excess=left, accuracy=0.49)
    folders.pictures = tmp_path / "others"
    put(cleaning, folders, PATCH, "unlearn@tiny", excess=0.2, accuracy=0.48, images=folders.pictures)
    assert cleaning.of_pairs(folders).split("\n")[2:] == [
        "| `unlearn@tiny` | 200 | 1 | 0.900 → 0.300 [0.300, 0.300] | pass | 0.500 → 0.490 | 0.400 |",
        "| `unlearn@tiny` | 1,000 | 1 | 0.900 → 0.100 [0.100, 0.100] | pass | 0.500 → 0.490 | 0.400 |",
        "| `unlearn@tiny` | images of another kind (4,299), no captions | 1 | 0.900 → 0.200 [0.200, 0.200] | pass | "
        "0.500 → 0.480 | 0.400 |",
    ]


def test_the_released_schedule_begins_after_its_warm_up_and_rises_in_its_last_epoch(script):
    released = script("released")
    rates = [released.learning_rate(step, an_epoch=100) for step in range(1000)]
    assert rates[0] > 0.95 * released.RATE  # no warm-up
    assert rates[899] < 1e-3 * released.RATE  # the count of steps is over
    assert rates[-1] > rates[899]  # and goes on past the end of the cosine
    words = released.second_captions(["A Dog, 3 cats", "A Dog, 3 cats"], seed=0)
    assert set(words) == {"A Dog, 3 cats"}
    assert words["A Dog, 3 cats"] == words["A Dog, 3 cats"].lower()
