import contextlib
import re
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
import short
import tiny
import torch
from clips import build, moved

from clipclean import checkpoint, cli, deadline, detect, model, progress
from clipclean.config import policy, recipe
from clipclean.config.effort import EFFORTS
from clipclean.data import Samples
from clipclean.detect import Suspicion
from clipclean.methods import rounds, towards_base, training, unlearning
from clipclean.train import Batch, Run, RunState, Step

SHORT = ["unlearn.effort=quick", "unlearn.steps=4", "unlearn.max_rounds=2", "train.lr=1e-3"]
NAMED = ("--trigger", tiny.TRIGGER, "--target", tiny.TARGET)
WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture
def hasty(monkeypatch):
    """Searches of a tenth of the length: enough to see what becomes of what they find."""
    short.searches(monkeypatch, steps=6, free_images=8, images=4)
    short.exact(monkeypatch)
    short.unread(monkeypatch)


@pytest.fixture(scope="module")
def planted(victim):
    """A job whose model has a patch for blue circles planted in it."""
    return victim.job._replace(model=victim.job.folder / "planted.pt")


@pytest.fixture
def whole(planted, hasty, tmp_path_factory):
    """A run that nothing disturbed."""
    out = tmp_path_factory.getbasetemp() / "whole"
    if not out.exists():
        cleaned(planted, out, *NAMED)
    return out


def cleaned(job, out, *more):
    shortened = [part for change in SHORT for part in ("--set", change)]
    given = ["--keep-failed", "--out", out, "--eval-data", job.folder / "labelled"]
    return cli.main(job.sanitize(*given, *shortened, *more, recipe="unlearn"))


def probes(report, side, spec):
    """Those of triggers whose names begin so."""
    return [each for each in report[side]["measurements"]["probes"] if each["trigger"].startswith(spec)]


@pytest.mark.slow
def test_nothing_but_a_named_trigger_is_forgotten(planted, tmp_path, hasty):
    out = tmp_path / "out"
    cleaned(planted, out, *NAMED, "--set", "unlearn.steps=40", "--set", "unlearn.max_rounds=3")
    report = tiny.result(out)
    before, after = (probes(report, side, "patch:size=0.25")[0]["excess_asr"]["value"] for side in ("before", "after"))
    assert before > 0.5
    assert after < 0.2 * before
    unlearning_record = report["training"]["unlearning"]
    assert tiny.TARGET in unlearning_record["suspects"]
    assert sum(each["losses"] is not None for each in unlearning_record["rounds"]) == report["training"]["steps"] / 40
    accuracies = [report[side]["measurements"]["clean_accuracy"]["value"] for side in ("before", "after")]
    assert accuracies[1] > accuracies[0] - 0.1


@pytest.mark.slow
def test_nothing_but_the_image_tower_moves(planted, whole):
    old, new = checkpoint.read(planted.model).tensors, checkpoint.read(whole).tensors
    moved = {name for name in old if not torch.equal(old[name], new[name])}
    assert moved
    assert all(name.startswith("visual.") for name in moved)


@pytest.mark.slow
def test_a_run_in_bf16_leaves_the_weights_in_fp32(planted, tmp_path, whole):
    cleaned(planted, tmp_path / "bf16", *NAMED, "--precision", "bf16")
    assert [tiny.result(out)["training"]["precision"] for out in (whole, tmp_path / "bf16")] == ["fp32", "bf16"]
    single, reduced = (checkpoint.read(out).tensors for out in (whole, tmp_path / "bf16"))
    assert not torch.equal(single["visual.proj"], reduced["visual.proj"])
    # Eight steps of 1e-3 move 0.008 at most.
    assert torch.allclose(single["visual.proj"], reduced["visual.proj"], atol=0.01)
    assert reduced["visual.proj"].dtype == torch.float32


@pytest.mark.slow
def test_a_run_that_was_killed_between_rounds_goes_on_to_the_same_bytes(planted, whole, tmp_path):
    assert tiny.result(whole)["training"]["steps"] >= 8  # two rounds at least

    def dies_in_the_second_round(what, done, _total):
        if (what, done) == ("unlearning", 5):
            raise KeyboardInterrupt

    with progress.heard(progress.Listener(steps=dies_in_the_second_round)):
        assert cleaned(planted, tmp_path / "out", *NAMED) == 130
    stages = set()
    with progress.heard(progress.Listener(steps=lambda what, *_: stages.add(what))):
        cleaned(planted, tmp_path / "out", *NAMED)
    assert ("unlearning" in stages, "searching for triggers" in stages) == (True, False)  # not anew
    assert tiny.result(tmp_path / "out")["training"]["resumed_at"] == 4
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    first, second = (tiny.result(out)["training"]["unlearning"] for out in (whole, tmp_path / "out"))
    assert first["rounds"] == second["rounds"]


@pytest.mark.slow
def test_where_nothing_is_found_nothing_is_unlearned(planted, tmp_path, hasty):
    clean = planted._replace(model=planted.folder / "model.pt")
    assert cleaned(clean, tmp_path / "out", "--no-panel", "--set", "unlearn.anomaly_index=100") == 4
    report = tiny.result(tmp_path / "out")
    assert [f["rule"] for f in report["findings"] if f["level"] == "warning"] == ["CC023"]
    assert report["training"]["steps"] == 0
    assert not (tmp_path / "out" / WEIGHTS).exists()  # they would be the original's


@pytest.mark.slow
def test_what_is_found_towards_one_class_is_measured_on_either_side_of_the_cleaning(planted, tmp_path):
    cleaned(planted, tmp_path / "out", "--no-panel", "--set", "unlearn.anomaly_index=1", "--set", "unlearn.enough=1")
    report = tiny.result(tmp_path / "out")
    triggers = [[p["trigger"] for p in probes(report, side, "found:")] for side in ("before", "after")]
    assert triggers[0] == triggers[1]
    assert len(triggers[0]) == len(report["training"]["unlearning"]["suspects"]) > 0


# What is unlearned at all.


def hit(*, excess, anomaly=3.0, is_reached=True, target=1, name="a", family="mask", evidence=0.0):
    candidate = SimpleNamespace(target=target, size=0.02, is_reached=is_reached, family=family)
    found, probe = SimpleNamespace(target=name), SimpleNamespace(excess=excess)
    return SimpleNamespace(candidate=candidate, trigger=found, probe=probe, evidence=evidence, anomaly_index=anomaly)


FOUND = [hit(excess=share, name=name, target="abc".index(name)) for name, share in (("a", 0.9), ("b", 0.9), ("c", 0.6))]


@pytest.mark.parametrize(
    ("hits", "suspects", "targets"),
    [
        # only what surely works
        ([hit(excess=0.69), hit(excess=0.7, target=2), hit(excess=0.9, anomaly=2.4), hit(excess=0.9, is_reached=False)], None, [2]),
        # of a family of few parameters no natural trigger
        ([hit(excess=0.9, target=0, family="wave"), hit(excess=0.9, target=1, family="wave", evidence=0.1)], None, [1]),
        ([hit(excess=0.9, target=2, family="blend")], None, [2]),
        # only those that an audit tells from natural ones; what it names and is not sure to work decides nothing
        (FOUND, {"b"}, [1]),
        (FOUND, {"a", "b"}, [0, 1]),
        (FOUND, set(), [0, 1]),
        (FOUND, {"c"}, [0, 1]),
    ],
)  # fmt: skip
def test_of_a_first_search_only_what_is_surely_planted_is_unlearned(hits, suspects, targets):
    options = {} if suspects is None else {"suspect_names": suspects}
    assert [trigger.target for trigger in unlearning.first_recovered(hits, anomaly_index=2.5, **options)] == targets


@pytest.mark.slow
def test_a_search_that_the_deadline_cuts_between_families_is_told_without_the_rest():
    clip = build(tiny.TINY_VIT, quick_gelu=False)
    side = clip.architecture.preprocess.size
    pixels = torch.rand(16, 3, side, side, generator=torch.Generator().manual_seed(0))
    classifier = clip.embed_texts([f"a photo of a {name}" for name in tiny.CLASSES])
    short = replace(EFFORTS["quick"], steps=2, free_images=4, images=2)
    here, how = (
        unlearning.Scene(pixels, classifier, tuple(tiny.CLASSES), short, unlearning.ShownTriggers()),
        recipe.load("unlearn"),
    )
    limits = policy.resolved(policy.DEFAULT_POLICY, how.audit)
    with contextlib.ExitStack() as late:

        def told(done, total):
            if done == 5:  # between two families
                late.enter_context(deadline.within(0))

        state = unlearning.first_search(clip, here, how.unlearn, limits, seed=0, progress=told)
    assert state.recovered == ()
    assert 0 < len(state.scores[0]) < len(detect.SEARCH_FAMILIES)


# What still acts.


class Corner:
    """A tower that embeds images whose corner is white as the second class, and all others as the first."""

    def embed_images(self, pixels):
        return torch.eye(2)[(pixels[:, 0, 0, 0] > 0.9).long()]


def scene(pixels, known=()):
    return unlearning.Scene(pixels, torch.eye(2), ("a", "b"), None, unlearning.ShownTriggers(tuple(known)))


class Multiplied:
    """A tower of one product, which autocast computes in bfloat16."""

    def __init__(self):
        self.weights = torch.randn(3 * 16 * 16, 2, generator=torch.Generator().manual_seed(0))
        self.net = torch.nn.Identity()

    def encode_images(self, pixels):
        return torch.nn.functional.normalize((pixels.flatten(1) @ self.weights).float(), dim=-1)

    embed_images = encode_images


def test_searches_compute_in_the_format_of_an_audits_search():
    pixels = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    single, found = Multiplied().encode_images(pixels), unlearning.embed_of(Multiplied(), scene(pixels))(pixels)
    assert torch.equal(found, single) == (not detect.may_round(Multiplied().encode_images, pixels, torch.eye(2)))


def searched_again(controls):
    """What a repeated search finds, and its scores, where all images are of the second class already."""
    pixels = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    here, begun = (
        replace(scene(pixels), effort=EFFORTS["quick"]),
        unlearning.UnlearningState((1,), controls, FIRST, 0, ({},), ()),
    )
    return unlearning.search_again(Multiplied(), here, begun, enough=2.5, generator=torch.Generator().manual_seed(0))


def test_a_search_repeated_in_every_family_catches_nothing_that_turns_no_image():
    recovered_triggers, scores = searched_again(dict.fromkeys(detect.SEARCH_FAMILIES, (0.8, 0.9, 1.0)))
    assert (recovered_triggers, set(scores)) == ([], set(detect.SEARCH_FAMILIES))
    assert min(scores.values()) > 2.5  # they are small


def test_without_controls_to_compare_with_no_search_is_repeated():
    assert searched_again({}) == ([], {})


def test_triggers_act_while_they_turn_images_that_are_not_of_their_class_already():
    pixels = torch.full((130, 3, 16, 16), 0.5)  # more than one batch
    pixels[:2] = 1.0
    assert unlearning.answers(Corner(), scene(pixels), pixels, None).tolist() == [1] * 2 + [0] * 128
    assert unlearning.answers(Corner(), scene(pixels), pixels, painted).tolist() == [1] * 130
    grey, white = torch.full((8, 3, 16, 16), 0.5), torch.ones(8, 3, 16, 16)
    known = [Suspicion(painted, 1), Suspicion(painted, 0)]
    assert [known[place] for place in unlearning.still_acting(Corner(), scene(grey, known))] == [Suspicion(painted, 1)]
    assert unlearning.still_acting(Corner(), scene(white, known)) == ()


def test_what_the_last_search_found_is_told_where_it_would_have_made_a_suspect():
    family = detect.InvertedTrigger("blend", "a", {"ratio": torch.tensor(0.0), "pattern": torch.zeros(3, 16, 16)}, 16)
    scores = ((0, 2.4), (1, 2.6), (1, 3.0))
    left = tuple(unlearning.RecoveredTrigger(1, family, target, 0.1, score, 0.9) for target, score in scores)
    state = unlearning.UnlearningState((0, 1), {}, left, 1, ({}, {}), ({},))
    (found,) = unlearning.SearchedModel(None, state, 0.0).findings(least=2.5)
    assert (found.rule, found.level, found.measure, found.value) == ("CC003", "warning", "anomaly index", 3.0)


# Rounds.

SHORT_RECIPE = recipe.override(recipe.load("unlearn"), ["unlearn.steps=2", "train.warmup_steps=0"])


def recovered(number):
    begun = detect.SEARCH_FAMILIES["blend"].begin(1, 16, torch.Generator().manual_seed(0))
    found = detect.InvertedTrigger("blend", "b", {key: values[0] for key, values in begun.items()}, 16)
    return unlearning.RecoveredTrigger(number, found, 1, 0.1, 5.0, 0.9)


FIRST = (recovered(0),)
WAVE, PATCH = (Suspicion(SimpleNamespace(spec=spec), 0) for spec in ("wave", "patch"))
DEFAULTS = {"first": FIRST, "known": (), "max_rounds": 4, "seed": 0, "base_damping": None, "base_share": 0}


@pytest.mark.parametrize(
    ("finds", "settings", "forgotten", "settled"),
    [
        # when the search finds no more, all that was found is forgotten once more
        # one copy of the images, None, where newest and earlier triggers are the same
        ([2, 0], {}, [(0, 1, None), (1, 2, 3), (2, 3, None)], [False, False, True]),
        ([1, 0], {"max_rounds": 2}, [(0, 1, None), (1, 1, 2), (2, 2, None)], [False, False, True]),
        # where it still finds something, nothing is rehearsed
        ([1, 1], {"max_rounds": 2}, [(0, 1, None), (1, 1, 2)], [False, False]),
        # where nothing was found, and nothing known acts, nothing is done
        ([], {"first": ()}, [], []),
        ([], {"first": (), "known": (0,)}, [], []),
        # but a tower that begins on the way to its base learns clean images again, and what is known is rehearsed meanwhile
        ([], {"first": (), "known": (0,), "base_damping": 0.5}, [(0, 1, None)], [True]),
        ([], {"first": (), "known": (0,), "base_share": 0.5}, [(0, 1, None)], [True]),
        ([0], {"seed": 2**63 - 1}, [(0, 1, None), (1, 1, None)], [False, True]),
    ],
)
def test_rounds_forget_what_was_found_until_the_run_is_settled(monkeypatch, finds, settings, forgotten, settled):
    calls, settings = [], DEFAULTS | settings

    def forget(clip, original, batches, triggers, how, /, *, generator, run, **_):
        calls.append((batches, len(triggers["newest"]), len(triggers["earlier"]) if "earlier" in triggers else None))
        return {"loss": 0.0}

    def search_again(clip, scene, state, /, *, enough, generator):
        return [recovered(state.rounds + 1)] * finds[state.rounds], {}

    monkeypatch.setattr(unlearning, "forget", forget)
    monkeypatch.setattr(unlearning, "search_again", search_again)
    here = scene(torch.full((8, 3, 16, 16), 0.5), [(painted, target) for target in settings["known"]])
    begun = unlearning.UnlearningState((1,), {"warp": (0.5,)}, settings["first"], 0, ({},), ())
    keys = ("max_rounds", "base_damping", "base_share")
    changes = [
        "unlearn.towards=base",
        *(f"unlearn.{key}={'null' if settings[key] is None else settings[key]}" for key in keys),
    ]
    how = rounds.RoundSettings.of(recipe.override(SHORT_RECIPE, changes))
    run = Run(settings["seed"], "fp32", lambda *_: None)
    states = list(unlearning.unlearn(Corner(), None, here, begun, how, batches=lambda number: number, run=run))
    assert calls == forgotten
    assert [state.is_settled for state in states] == settled
    assert not states or (states[-1].rounds, len(states[-1].losses)) == (len(finds), len(forgotten))


def of_ones_and_threes():
    """A model whose weights are all 1, and one whose weights are all 3."""
    own, base = build(), build()
    for clip, every in ((own, 1.0), (base, 3.0)):
        for parameter in clip.net.parameters():
            parameter.data.fill_(every)
    return own, base


@pytest.mark.parametrize(
    ("name", "changes", "has_base", "value"),
    [
        ("undo", ["unlearn.base_share=0.25"], True, 1.5),
        ("undo", ["unlearn.base_share=1"], True, 3.0),
        ("undo", ["unlearn.base_share=0"], True, 1.0),
        ("undo", ["unlearn.base_share=0.25"], False, 1.0),
        ("surgery", [], True, 1.0),
    ],
)
def test_a_recipe_puts_the_whole_model_towards_its_base(name, changes, has_base, value):
    own, base = of_ones_and_threes()
    how, run = recipe.override(recipe.load(name), changes), Run(0, "fp32", lambda *_: None)
    towards_base.put_towards_base(own, Samples((), None), base if has_base else None, how, run=run)
    assert {parameter.detach().mean().item() for parameter in own.net.parameters()} == {value}


@pytest.fixture(scope="module", params=["SMALL_VIT", "TINY_RESNET"])
def finetune(tmp_path_factory, request):
    """A model whose matrices and kernels moved, its base, and clean images."""
    config = getattr(tiny, request.param)
    inputs, clean = tiny.loaded(tiny.job(tmp_path_factory.mktemp("finetune") / "job", config=config))
    pairs = list(clean.pairs)
    return moved(inputs.clip, by=0.1), inputs.clip, pairs, detect.stack([pair.image for pair in pairs])


@pytest.mark.parametrize(("damping", "stays_near"), [(1e-3, "finetune"), (1e3, "base")])
def test_damping_decides_whether_a_model_begins_near_its_finetune_or_its_base(finetune, damping, stays_near):
    clip, base, pairs, pixels = finetune
    there = {"finetune": clip.embed_images(pixels), "base": base.embed_images(pixels)}
    put = model.frozen_copy(clip)
    changes = [f"unlearn.base_damping={damping}", "unlearn.base_share=0", "train.batch_size=4"]
    how = recipe.override(recipe.load("undo"), changes)
    towards_base.put_towards_base(put, Samples(pairs, None), base, how, run=Run(0, "fp32", lambda *_: None))
    away = {name: (put.embed_images(pixels) - embedded).norm().item() for name, embedded in there.items()}
    assert away[stays_near] < 0.5 * max(away.values())  # some inputs have a moment of hundreds, and are not damped away


@pytest.mark.parametrize(("change", "is_kept"), [("unlearn.base_damping=1", True), ("unlearn.base_share=0.5", False)])
def test_clean_images_belong_where_the_finetune_has_them_if_the_model_was_fitted_to_those(finetune, change, is_kept):
    clip, base, pairs, pixels = finetune
    put = model.frozen_copy(clip)
    how = recipe.override(recipe.load("undo"), ["unlearn.base_share=0", "train.batch_size=4", change])
    kept = training.move_to_beginning(put, Samples(pairs, None), base, how, run=Run(0, "fp32", lambda *_: None))
    assert (kept is not None) is is_kept
    if kept:
        assert torch.equal(kept.embed_images(pixels), clip.embed_images(pixels))
        assert not torch.allclose(put.embed_images(pixels), clip.embed_images(pixels))


def test_only_weights_of_the_image_tower_are_put_towards_the_base(finetune):
    clip, base, pairs, _ = finetune
    put = model.frozen_copy(clip)
    changes = ["unlearn.base_damping=1e3", "unlearn.base_share=0", "train.batch_size=4"]
    how = recipe.override(recipe.load("undo"), changes)
    towards_base.put_towards_base(put, Samples(pairs, None), base, how, run=Run(0, "fp32", lambda *_: None))
    own = dict(clip.net.named_parameters())
    changed = {name for name, p in put.net.named_parameters() if not torch.equal(p, own[name])}
    assert changed
    assert all(name.startswith("visual.") for name in changed)
    assert all(own[name].ndim >= 2 or re.search(r"bn\d\.|downsample\.1\.", name) for name in changed)


@pytest.mark.parametrize(("variants", "copies"), [((), {"newest"}), ((WAVE,), {"newest", "variants"})])
def test_variants_of_known_triggers_get_copies_of_their_own(monkeypatch, variants, copies):
    seen = []

    def forget(clip, original, batches, triggers, how, /, **_):
        seen.append(set(triggers))
        return {"loss": 0.0}

    monkeypatch.setattr(unlearning, "forget", forget)
    here = replace(scene(torch.ones(8, 3, 16, 16)), shown_triggers=unlearning.ShownTriggers(variants=variants))
    begun = unlearning.UnlearningState((1,), {}, FIRST, 0, ({},), ())
    how = rounds.RoundSettings.of(recipe.override(SHORT_RECIPE, ["unlearn.max_rounds=1", "unlearn.search=false"]))
    run = Run(0, "fp32", lambda *_: None)
    next(unlearning.unlearn(Corner(), None, here, begun, how, batches=lambda number: number, run=run))
    assert seen == [copies]


# Turns.


def turns_of(far, near):
    """The share of turns of a trigger that moves images so near, beside one that moves them so far."""
    turns, generator, count = rounds.Turns([WAVE, PATCH]), torch.Generator().manual_seed(0), Counter()
    for _ in range(4000):
        (trigger,) = turns.next(generator, sections=1)
        count[trigger.spec] += 1
        turns.look(far if trigger.spec == "wave" else near, turns.latest[0])
    return count["patch"] / 4000


def test_the_farther_a_trigger_moves_images_the_more_turns_it_has():
    assert turns_of(0.9, 0.3) == pytest.approx(1 / 4, abs=0.03)


def test_a_trigger_that_moves_images_no_more_keeps_a_tenth_of_the_turns_of_one_that_does():
    assert turns_of(1.0, 0.0) == pytest.approx(1 / 11, abs=0.03)


def test_triggers_that_take_turns_at_every_second_step_have_copies_in_these_alone():
    white = detect.InvertedTrigger("blend", "a", {"ratio": torch.tensor(0.0), "pattern": torch.zeros(3, 16, 16)}, 16)
    turns = {
        "newest": rounds.Turns([Suspicion(white, 0)]),
        "variants": rounds.Turns([Suspicion(white, 0)], gap=2),
    }
    batches = [Batch({"pixels": torch.zeros(2, 3, 16, 16)}, ())] * 4
    generator = torch.Generator().manual_seed(0)
    drawn = rounds.triggered(batches, turns, SHORT_RECIPE.unlearn, generator=generator, run=Run(0, "fp32"))
    assert ["variants" in batch.inputs for batch in drawn] == [True, False, True, False]


def whole_image(value):
    """A trigger that blends one value over the whole image."""
    values = {"ratio": torch.tensor(1.0), "pattern": torch.full((3, 16, 16), float(value))}
    return Suspicion(detect.InvertedTrigger("blend", f"of {value}", values, 16), 0)


BLACK, WHITE = whole_image(0.0), whole_image(1.0)


def in_four_sections():
    """The turns of two triggers, and a batch of four sections that were the first to have one."""
    turns = {"newest": rounds.Turns([BLACK, WHITE])}
    how = SHORT_RECIPE.unlearn.model_copy(update={"strength": (1.0, 1.0)})
    batches = [Batch({"pixels": torch.full((8, 3, 16, 16), 0.5)}, ())]
    generator = torch.Generator().manual_seed(1)
    (batch,) = rounds.triggered(batches, turns, how, generator=generator, run=Run(0, "fp32"), sections=4)
    return turns, batch


def test_each_section_of_a_batch_has_a_trigger_of_its_own():
    turns, batch = in_four_sections()
    places = turns["newest"].latest
    assert set(places) == {0, 1}  # of four sections
    assert batch.inputs["newest"][:, 0, 0, 0].round().tolist() == [
        *places,
        *places,
    ]  # every fourth image from its own on


def test_the_distance_of_a_section_tells_how_far_its_trigger_moves_images():
    turns, _ = in_four_sections()
    places = turns["newest"].latest
    lengths = {"loss": 0.0} | {f"newest/{section}": 0.2 + place for section, place in enumerate(places)}
    looks = rounds.Looks(turns, at_once=1)
    looks.take(Step(0, 0.0, {name: torch.tensor(length) for name, length in lengths.items()}))
    assert looks.losses == {"loss": 0.0}
    later = [turns["newest"].next(torch.Generator().manual_seed(seed), sections=4) for seed in range(300)]
    share = sum(trigger is WHITE.trigger for four in later for trigger in four) / 1200
    assert share == pytest.approx(1.2 / 1.4, abs=0.04)


@pytest.mark.parametrize(
    ("images", "processes", "sections"), [(64, 1, 8), (64, 4, 8), (64, 16, 1), (32, 2, 4), (8, 2, 1), (50, 1, 1)]
)
def test_a_batch_has_as_many_sections_as_can_have_enough_images(images, processes, sections):
    assert rounds.sections_of(images, processes=processes) == sections


def test_a_state_of_other_known_triggers_is_not_gone_on_from(tmp_path):
    saved, state = RunState(tmp_path, "0" * 64), unlearning.UnlearningState((1,), {"warp": (0.5,)}, (), 0, ({},), ())
    pixels = torch.full((8, 3, 16, 16), 0.5)
    patch, stripes = (Suspicion(SimpleNamespace(spec=spec), 1) for spec in ("patch", "stripes"))
    done = unlearning.SearchedModel(scene(pixels, [patch]), state, 3.0)
    unlearning.save(saved, done, {})
    assert unlearning.restored(saved, done.scene) == (done, {})
    assert unlearning.restored(saved, scene(pixels, [patch, stripes])) is None
    assert unlearning.restored(saved, scene(pixels)) is None


# The pace of a round.


def paced(moved, *, steps=40):
    """The factor after a first tenth of the round, four steps, in which clean images had moved so far."""
    guard = rounds.Guard(steps)
    for number, distance in enumerate(moved):
        guard.look(Step(number, 0.0, {"preservation": torch.tensor(distance)}))
    return guard.pace(3), guard.pace(4), guard.pace(steps - 1)


@pytest.mark.parametrize(
    ("moved", "factor"),
    [
        ([0.0, 0.0, 0.1, 0.1], 1.0),  # the later half of the tenth counts
        ([9.0, 9.0, 0.16, 0.24], 0.5**0.5),  # 0.2 on average is twice 0.1
        ([0.0, 0.0, 4.0, 4.0], 0.5),
        ([0.0, 0.0, 1e-6, 1e-6], 2.0),
        ([0.0, 0.0, 0.0, 0.0], 2.0),
        ([0.0, 0.0, 0.1, 0.1, 4.0, 4.0], 1.0),  # what comes after the tenth changes nothing
    ],
)
def test_the_pace_of_a_round_follows_how_far_clean_images_moved_in_its_first_tenth(moved, factor):
    assert paced(moved) == (1.0, pytest.approx(factor), pytest.approx(factor))


# Jitter.


def painted(images, generator=None, /):
    """A white square in a corner."""
    changed = images.clone()
    changed[..., :2, :2] = 1
    return changed


def jittered(*, shift=0.0, strength=(1.0, 1.0), seed=0):
    images = torch.full((3, 3, 16, 16), 0.5)
    how = recipe.Unlearn(shift=shift, strength=strength)
    return rounds.jittered(painted, images, how, generator=torch.Generator().manual_seed(seed))


def test_a_found_warp_is_varied_by_its_field():
    warp = detect.InvertedTrigger("warp", "cat", {"flow": torch.full((2, 6, 6), 0.3)}, 16)
    variants = [warp.varied(torch.Generator().manual_seed(seed)) for seed in range(20)]
    factors = [each.parameters["flow"].mean().item() / 0.3 for each in variants]
    assert 0.5 < min(factors) < 1 < max(factors) < 2.2
    assert all(0.1 < each.parameters["flow"].std() < 0.2 for each in variants)  # about half of 0.3


def test_a_found_mask_has_no_variant():
    mask = {"mask": torch.zeros(1, 16, 16), "pattern": torch.zeros(3, 16, 16)}
    assert detect.InvertedTrigger("mask", "cat", mask, 16).varied(torch.Generator()) is None


def test_an_image_under_a_jittered_warp_is_never_shown_twice():
    """A warp that moves nothing leaves images as they are, whatever the strength of a change would be."""
    warp = detect.InvertedTrigger("warp", "cat", {"flow": torch.zeros(2, 6, 6)}, 16)
    images, how = torch.rand(3, 3, 16, 16), recipe.Unlearn(shift=0.25, strength=(0.5, 2.0))
    shown = rounds.jittered(warp, images, how, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(shown, images, atol=1e-5)


def test_jitter_scales_what_a_trigger_changes():
    values = jittered(strength=(0.5, 0.9))[:, 0, 0, 0]
    assert len(set(values.tolist())) == 3
    assert ((values > 0.5 + 0.5 * 0.5) & (values < 0.5 + 0.5 * 0.9)).all()


def test_jitter_moves_a_trigger_no_further_than_the_shift():
    for seed in range(8):
        touched = (jittered(shift=0.25, seed=seed)[0, 0] != 0.5).nonzero()  # 4 of 16 px
        centre = (touched.float() + 8) % 16 - 8  # over the edge is negative
        assert len(touched) == 4
        assert centre.min() >= -4
        assert centre.max() <= 1 + 4
    places = {tuple((jittered(shift=0.25, seed=seed)[0, 0] != 0.5).nonzero()[0].tolist()) for seed in range(8)}
    assert len(places) > 1


def test_a_round_whose_steps_spare_clean_images_goes_no_faster():
    guard = rounds.Guard(40, fastest=1.0)
    for number in range(4):
        guard.look(Step(number, 0.0, {"preservation": torch.tensor(1e-6)}))
    assert guard.pace(4) == 1.0
