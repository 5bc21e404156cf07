import pytest
import tiny
from evidence_values import evidence

from clipclean import cli, detect
from clipclean.auto import measuring_recipes
from clipclean.config import recipe
from clipclean.detect.measure import Accuracy
from clipclean.errors import UsageError

MINE = """# A header that stays.
version: 1
name: mine
revision: 1
description: Short.
method: mmcl
train:
  max_steps: 2
  batch_size: 16
  warmup_steps: 1
loss:
  self_supervised_weight: 0 # and a remark
"""


def test_evidence_follows_the_text_of_its_recipe(tmp_path):
    text = measuring_recipes.with_evidence(MINE, [evidence()])
    assert text.startswith(MINE.rstrip("\n"))
    measuring_recipes.write(tmp_path / "new" / "mine.yaml", text)
    assert recipe.load(tmp_path / "new" / "mine.yaml").evidence == (evidence(),)


def test_evidence_replaces_what_stood_there():
    text = measuring_recipes.with_evidence(MINE, [evidence()])
    assert measuring_recipes.with_evidence(text, [evidence()]) == text


def test_a_text_that_is_no_recipe_is_not_written(tmp_path):
    place = tiny.written(tmp_path / "mine.yaml", MINE)
    with pytest.raises(UsageError):
        measuring_recipes.write(place, MINE + "nonsense: 1\n")
    assert place.read_text() == MINE


def test_new_evidence_keeps_what_is_still_true_of_the_old():
    own = evidence()
    elsewhere = own.model_copy(update={"architecture": "ResNet"})
    other_attack = own.model_copy(update={"attack": "warp"})
    other_values = own.model_copy(update={"recipe_sha256": "1" * 64, "attack": "text"})
    anew = own.model_copy(update={"seeds": (2,)})
    kept = measuring_recipes.added([own, elsewhere, other_attack, other_values], [anew], keep=True)
    assert kept == (elsewhere, other_attack, anew)


def measured(correct, hits):
    """Ten images; the trigger turns ``hits`` of nine."""
    attack = detect.Rate(hits, 9), detect.Rate(1, 9), (hits - 1) / 9, (0.0, 1.0)
    probe = detect.Probe(*attack, "patch", "cat", detect.Rate(2, 10), None, 0.1, 0.5, 0.6, 10)
    return detect.Measurement(Accuracy(detect.Rate(correct, 10), None, ""), (probe,), (), 1, None)


def test_seeds_are_pooled_by_counts():
    pooled = measuring_recipes.pooled([measured(4, 9), measured(8, 3)])
    assert (pooled.clean_accuracy.value, pooled.clean_accuracy.n) == (0.6, 20)
    assert (pooled.attack_success.value, pooled.attack_success.n) == (pytest.approx(12 / 18), 18)
    assert pooled.accuracy_under_trigger.value == 0.2


@pytest.fixture
def job(tmp_path):
    return tiny.job(tmp_path / "job", count=96)


def command(job, *more, recipe=None):
    mine = tiny.written(job.folder / "mine.yaml", MINE) if recipe is None else recipe
    given = ["--model", job.model, "--data", job.data, "--eval-data", job.folder / "labelled", "--arch", job.arch]
    short = ["--attacks", "1", "--seeds", "1", "--steps", "100", "--batch-size", "48", "--walk", "2.5", "--quiet"]
    return [*map(str, ["recipes", "bench", mine, *given, *job.words(), *short, *more])]


@pytest.mark.slow
def test_a_recipe_that_was_measured_is_validated(job, monkeypatch, capsys):
    monkeypatch.setattr(measuring_recipes.poison, "PLANTED_SPECS", ("patch:size=0.25,place=corner",))
    tiny.labelled(job.folder / "labelled", count=96)
    assert cli.main(command(job, "--write")) == 0
    mine = recipe.load(job.folder / "mine.yaml")
    (block,) = mine.evidence
    assert recipe.own_evidence(mine)
    assert (block.pairs, block.seeds, block.before.clean_accuracy.n) == (96, (1,), 96)
    assert block.before.attack_success.value - block.before.base_rate.value >= 0.5
    assert "patch" in capsys.readouterr().out


def test_an_attack_that_does_not_take_is_no_evidence(job, capsys):
    tiny.labelled(job.folder / "labelled", count=24)
    assert cli.main([*command(job, "--write"), "--steps", "3", "--walk", "1e-3"]) == 4
    assert (job.folder / "mine.yaml").read_text() == MINE


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--seeds", "1,1"], "different"),
        (["--attacks", "7"], "7"),
        (["--out", "."], "exists"),  # a copy is not overwritten unasked
    ],
)
def test_what_cannot_be_measured_is_refused_before_slow_work(job, capsys, monkeypatch, more, told):
    monkeypatch.chdir(job.folder)
    tiny.labelled(job.folder / "labelled", count=24)
    bare = ["recipes", "bench", "cleanclip", "--model", "model.pt", "--out", "."]
    auto = command(job, "--out", ".", "--force", recipe="auto")
    for asked, named in ((command(job, *more), told), (bare, "--eval-data"), (auto, "auto")):
        assert cli.main(asked) == 2
        assert named in capsys.readouterr().err
