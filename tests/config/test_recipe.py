"""Recipes: what ships, what is read, what is refused by line and key, and what identifies a run."""

import hashlib
import json
import re
from functools import partial
from pathlib import Path
from typing import get_args

import jsonschema
import pytest
import yaml_faults
from evidence_values import evidence as block
from evidence_values import measured
from pydantic import ValidationError

from clipclean import requests
from clipclean.config import effort, evidence, recipe, thresholds
from clipclean.config.evidence import Subject
from clipclean.config.methods import METHODS
from clipclean.config.recipe import Recipe
from clipclean.errors import Inconclusive, UsageError
from clipclean.methods import losses

FOLDER = Path(__file__).parents[2] / "clipclean" / "recipes"
HEAD = "version: 1\nname: mine\nrevision: 1\ndescription: Mine.\nmethod: cleanclip\n"  # five lines
PLAIN = recipe.load("cleanclip")
refusal, problems = partial(yaml_faults.refusal, recipe.load), partial(yaml_faults.problems, recipe.load)


def set_to(*changes, name="cleanclip"):
    return recipe.override(recipe.load(name), changes)


# Shipped recipes.
@pytest.mark.parametrize("name", recipe.names())
def test_a_shipped_recipe_is_called_as_its_file(name):
    assert recipe.load(name).name == name


@pytest.mark.parametrize("name", recipe.names())
def test_a_shipped_file_begins_with_how_to_run_it(name):
    head = recipe.text(name).split("\nversion:")[0]
    assert f"clipclean sanitize model.pt --data clean/ --recipe {name} " in head
    assert "# Expect: " in head
    assert "$schema=recipe.schema.json" in head


@pytest.mark.parametrize("name", recipe.names())
def test_the_evidence_of_a_shipped_recipe_is_of_its_values(name):
    loaded = recipe.load(name)
    assert len(recipe.own_evidence(loaded)) == len(loaded.evidence or ()), (
        "evidence is of other values: name a new key in ADDED_LATER_KEYS of its section"
    )


@pytest.mark.parametrize("name", recipe.names())
def test_a_shipped_recipe_survives_its_own_json(name, tmp_path):
    loaded = recipe.load(name)
    (tmp_path / "again.yaml").write_text(loaded.model_dump_json(indent=2))
    assert recipe.load(tmp_path / "again.yaml") == loaded


PAPER = (
    "train.lr=1e-5",
    "train.batch_size=64",
    "loss.self_supervised_weight=1",
    "train.warmup_steps=50",
    "train.moves=model",
    "loss.preserve_weight=0",
    "augment.least_part=1",
    "augment.mirrored=0",
)


def test_the_values_of_the_paper_are_those_that_cleanclip_says():
    assert all(f"--set {change}" in recipe.text("cleanclip") for change in PAPER)
    paper = set_to(*PAPER)
    train, loss, augment = paper.train, paper.loss, paper.augment
    # Bansal et al. 2023, and src/parser.py of the code released with it
    assert (train.epochs, train.batch_size, train.lr, train.warmup_steps, train.weight_decay) == (10, 64, 1e-5, 50, 0.1)
    assert (train.betas, train.eps, train.schedule) == ((0.9, 0.999), 1e-8, "cosine")
    assert (loss.clip_weight, loss.self_supervised_weight, loss.preserve_weight) == (1, 1, 0)
    assert (augment.image, augment.caption, augment.caption_rate) == ("autoaugment", "eda", 0.1)


def test_relatives_of_cleanclip_differ_in_one_loss():
    for name, weight in (("mmcl", 0), ("cleanclip-strong", 4 * PLAIN.loss.self_supervised_weight)):
        other = recipe.load(name)
        assert (PLAIN.train, PLAIN.data, PLAIN.audit, PLAIN.augment) == (
            other.train,
            other.data,
            other.audit,
            other.augment,
        )
        assert other.loss == PLAIN.loss.model_copy(update={"self_supervised_weight": weight})


def test_auto_has_the_defaults_but_for_its_candidates():
    unset = {"candidates": (), "candidates_with_base": None}
    assert recipe.load("auto").auto.model_copy(update=unset) == recipe.AutoSettings()


def test_keys_of_before_are_read_by_their_names_of_now(tmp_path):
    place = tmp_path / "own.yaml"
    place.write_text(
        "version: 1\nname: own\nrevision: 1\ndescription: own\nmethod: auto\nauto: {ladder: [unlearn], canaries: 1}\n"
    )
    own = recipe.load(place).auto
    assert (own.candidates, own.test_backdoors) == (("unlearn",), 1)
    changed = recipe.override(recipe.load("auto"), ["auto.ladder=[par]", "auto.canaries=2"]).auto
    assert (changed.candidates, changed.test_backdoors) == (("par",), 2)


@pytest.mark.parametrize(
    ("name", "earlier", "now"),
    [
        ("auto", "auto.rebound_steps", "auto.refinetune_steps"),
        ("auto", "auto.rebound_walk", "auto.refinetune_walk"),
        ("unlearn", "unlearn.outlyingness", "unlearn.anomaly_index"),
    ],
)
def test_a_renamed_key_is_set_by_either_name(name, earlier, now):
    own = recipe.load(name)
    assert recipe.override(own, [f"{earlier}=5"]) == recipe.override(own, [f"{now}=5"]) != own


def test_a_renamed_key_leaves_the_evidence_of_a_recipe():
    assert all(recipe.own_evidence(recipe.load(name)) for name in ("unlearn", "surgery", "surgery-wide"))


def test_a_key_under_both_of_its_names_is_refused(tmp_path):
    place = tmp_path / "own.yaml"
    place.write_text(
        "version: 1\nname: own\nrevision: 1\ndescription: own\nmethod: auto\nauto: {candidates: [unlearn], ladder: [par]}\n"
    )
    with pytest.raises(UsageError, match="ladder"):
        recipe.load(place)


def test_recipes_that_the_program_names_are_shipped():
    assert {recipe.DEFAULT_RECIPE, recipe.STANDARD_RECIPE} <= {*recipe.names()}


# The rate: a walk, or a learning rate instead.
def rate_of(loaded):
    return loaded.train.walk, loaded.train.lr


@pytest.mark.parametrize(
    ("changes", "rate"),
    [
        (["train.walk=2"], (2, None)),
        (["train.lr=1e-5"], (None, 1e-5)),
        (["train.walk=null", "train.lr=1e-5"], (None, 1e-5)),
        (["train.lr=1e-5", "train.lr=null"], (3, None)),  # of two assignments the later holds
        (["train.epochs=2"], (3, None)),
    ],
)
def test_a_rate_that_is_set_takes_the_place_of_the_other(changes, rate):
    changed = set_to(*changes)
    assert rate_of(changed) == rate
    assert rate_of(recipe.override(changed, ["train.walk=1.5"])) == (1.5, None)


def test_a_file_has_exactly_one_rate(write):
    assert rate_of(recipe.load(write("train: {lr: 2e-5}\n"))) == (None, 2e-5)
    assert rate_of(recipe.load(write("train: {epochs: 3}\n"))) == (3, None)
    assert rate_of(recipe.load(write("train: {lr: null, walk: 2}\n"))) == (2, None)


@pytest.mark.parametrize(
    ("changes", "key"),
    [(["train.walk=3", "train.lr=1e-5"], "train.lr"), (["train.walk=null"], "train.walk")],
)
def test_two_rates_or_none_are_refused_by_either_key(write, changes, key):
    with pytest.raises(UsageError, match=rf"--set {key}=\S+: "):
        set_to(*changes)
    values = ", ".join(
        f"{name.removeprefix('train.')}: {value}" for name, value in (each.split("=") for each in changes)
    )
    assert problems(write(f"train: {{{values}}}\n"))[0].startswith(f"my.yaml:6: {key}: ")


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("mmcl-tiny", "write mmcl"),  # names that went
        ("mmcl@usual", "write mmcl"),
        ("cleanclip@few", "write cleanclip"),
        ("cleanclp", "'cleanclip'"),
        ("MMCL.yaml", "'mmcl'"),
        ("zzzzzz", ", ".join(recipe.names())),
        ("x" * 10_000, ""),
    ],
)
def test_an_unknown_name_gets_the_nearest_one(name, named):
    assert named in refusal(name)


@pytest.fixture
def file_of_a_shipped_name(write, tmp_path, monkeypatch):
    write("").rename(tmp_path / "cleanclip")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("file_of_a_shipped_name")
def test_a_shipped_name_wins_over_a_file():
    assert recipe.load("cleanclip").name == "cleanclip"


@pytest.mark.usefixtures("file_of_a_shipped_name")
def test_a_path_reaches_a_file_of_a_shipped_name():
    assert recipe.load("./cleanclip").name == "mine"


def test_the_committed_schema_is_current():
    now = "clipclean recipes schema > clipclean/recipes/recipe.schema.json"
    assert json.loads((FOLDER / "recipe.schema.json").read_text()) == recipe.schema(), now


def test_the_schema_is_valid_itself():
    jsonschema.Draft202012Validator.check_schema(recipe.schema())


def test_the_schema_holds_for_every_shipped_recipe():
    checker = jsonschema.Draft202012Validator(recipe.schema())
    for name in recipe.names():
        checker.validate(json.loads(recipe.load(name).model_dump_json()))


def test_the_schema_knows_no_misspelt_key():
    checker = jsonschema.Draft202012Validator(recipe.schema())
    assert not checker.is_valid(json.loads(PLAIN.model_dump_json()) | {"trian": {}})


def test_the_schema_explains_every_key():
    assert yaml_faults.unexplained(recipe.schema()) == []


# Reading files.
def test_a_file_that_states_little_has_the_defaults(write):
    loaded = recipe.load(write("train: {epochs: 3}\n", "\ufeff" + HEAD))
    assert loaded.train == recipe.Train(epochs=3.0)
    assert loaded.audit == thresholds.Audit()


def test_a_recipe_is_frozen(write):
    loaded = recipe.load(write("train: {epochs: 3}\n"))
    with pytest.raises(ValidationError, match="frozen"):
        loaded.train.lr = 1.0
    hash(loaded)


def test_values_next_to_a_contradiction_are_taken(write):
    assert recipe.load(write("loss: {self_supervised_weight: 0.1}\naugment: {least_part: 0.6, mirrored: 0.5}\n"))
    assert recipe.load(write("train: {max_steps: 51}\n"))
    head = HEAD.replace("cleanclip", "mmcl")
    assert recipe.load(write("loss: {self_supervised_weight: 0}\n", head)).method == "mmcl"


def test_floats_have_any_usual_form(write):
    for written in ("1e-5", "1E-5", "1.e-5", ".00001", "0.00001", "+1e-5"):
        assert recipe.load(write(f"train: {{lr: {written}}}\n")).train.lr == 1e-5, written


def test_words_of_yaml_1_1_stay_words(write):
    for word in ("no", "on", "yes", "off", "12:30:45", "2020-01-01", "0x10", "1_0"):
        assert recipe.load(write("", HEAD.replace("Mine.", word))).description == word


BATCH = ("batchsize", "BatchSize")


@pytest.mark.parametrize(
    ("body", "line", "named"),
    [
        # keys: where, and the one that was meant
        ("train:\n  epoch: 3\n", 7, "train.epoch.*'epochs'"),
        *((f"train: {{{wrong}: 1}}\n", 6, f"train.{wrong}.*'batch_size'") for wrong in BATCH),
        ("loss: {lr: 1}\n", 6, "loss.lr.*'train.lr'"),
        ("loss: {zzz: 1}\n", 6, "loss.zzz.*clip_weight, self_supervised_weight"),
        ("train:\n  lr: 1e-5\n  lr: 1e-4\n", 8, "train.lr.*line 7"),
        # values: with their unit
        ('train:\n  lr: "1e-5"\n', 7, "train.lr: '1e-5' .*between 1e-6 and 1e-3"),
        *((f"train:\n  lr: {value}\n", 7, "train.lr: ") for value in ("1e-5%", "10", "0", ".nan", ".inf", "true")),
        ("train:\n  warmup_steps: 0.1\n", 7, "train.warmup_steps: .*a count"),
        *((f"train:\n  batch_size: {value}\n", 7, "train.batch_size: ") for value in ("64.0", "1")),
        ("train:\n  precision: fp16\n", 7, "train.precision: 'fp16' .*'bf16'"),
        ("train:\n  betas: [0.9, 1]\n", 7, r"train.betas.1: "),
        ("audit:\n  max_accuracy_loss: 2\n", 7, "audit.max_accuracy_loss: .*points"),
        # what no recipe needs of YAML; more of it: tests/hostile
        ("train: {lr: 1\n", 7, "'}'"),
        ('"\\e[2J": "\\e[2J"\ntrain: {precision: "\\e[2J"}\n', 6, r"\\x1b\[2J"),
        # values that contradict each other
        ("loss: {self_supervised_weight: 0}\n", 6, "loss.self_supervised_weight: 0 "),
        ("train: {max_steps: 50}\n", 6, "train.warmup_steps: 50 "),
    ],
)
def test_a_fault_is_told_with_its_place(write, body, line, named):
    first = problems(write(body))[0]
    assert first.startswith(f"my.yaml:{line}: ")
    assert re.search(named, first), first
    assert first.isprintable()


@pytest.mark.parametrize(
    ("body", "head", "named"),
    [
        ("", "", "version, name, revision"),
        ("", HEAD.replace("version: 1", "version: 2"), "version"),
        ("", HEAD.replace("cleanclip", "mmcl"), "self_supervised_weight"),  # which mmcl does not use
        ("loss: {self_supervised_weight: 0, preserve_weight: 2}\naugment: {mirrored: 0.5}\n",
         HEAD.replace("cleanclip", "unlearn"), "augment.mirrored"),
        (b"\xff", HEAD, "byte 71"),  # the head has 71
    ],
)  # fmt: skip
def test_a_file_that_is_no_recipe_is_refused(write, body, head, named):
    assert named in refusal(write(body, head))


def test_all_errors_are_told_in_the_order_of_the_lines(write):
    errors = problems(write("train:\n  epoch: 3\n  lr: 10\n  lr: 1\nloss:\nwd: 1\n", HEAD.replace("revision: 1\n", "")))
    places = [line.removeprefix("my.yaml:").split(": ")[:2] for line in errors]
    keys = {"1": "revision", "6": "train.epoch", "7": "train.lr", "8": "train.lr", "9": "loss", "10": "wd"}
    assert places == [[line, key] for line, key in keys.items()]


def test_no_more_than_a_hundred_errors_are_told(write):
    assert len(problems(write("".join(f"k{number}: 1\n" for number in range(2000))))) == 101


def test_a_long_value_is_told_in_short(write):
    assert len(refusal(write(f"train: {{precision: {'x' * 10_000}}}\n"))) < 300


# Overrides.
def test_overrides_change_only_what_they_name():
    before = recipe.load("cleanclip")
    changes = ["train.epochs=1", "train.epochs=3", " train.lr = 2e-5 ", "train.betas=[0.8, 0.9]", "train.max_steps=60"]
    after = recipe.override(before, changes)
    assert (after.train.epochs, after.train.lr, after.train.betas, after.train.max_steps) == (3, 2e-5, (0.8, 0.9), 60)
    assert after.model_copy(update={"train": before.train}) == before == recipe.load("cleanclip")
    assert recipe.override(after, ["train.max_steps=null"]).train.max_steps is None
    assert recipe.override(before, []) == before
    assert set_to("method=mmcl", "loss.self_supervised_weight=0").method == "mmcl"


@pytest.mark.parametrize(
    ("assignment", "named"),
    [
        ("train.epoch=3", "'train.epochs'"),
        ("lr=3", "'train.lr'"),
        ("zzz.zzz=3", "train, loss"),
        ("train=3", "train.epochs, "),
        *((wrong, "recipe") for wrong in ("name=x", "version=2", "evidence=null")),
        ("train.epochs", "KEY=VALUE"),
        ("=3", ""),
        ("train.epochs=", "null"),
        ("train.lr=[1", "']'"),
        ("train.lr=10", "0.01"),
    ],
)
def test_an_override_that_makes_no_recipe_is_refused(assignment, named):
    with pytest.raises(UsageError) as caught:
        set_to(assignment)
    (message,) = str(caught.value).split("\n")
    prefix, _, rest = message.partition(f"--set {assignment}: ")
    assert (prefix, named in rest) == ("", True)


@pytest.mark.parametrize(
    ("name", "changes", "keys"),
    [
        ("cleanclip", ["train.epoch=3", "train.lr=10", "train.wd=0"], ["train.epoch", "train.lr", "train.wd"]),
        ("cleanclip", ["method=mmcl"], ["loss.self_supervised_weight"]),
        # what the method does not read
        ("cleanclip", ["augment.mixed=0.5"], ["augment.mixed"]),
        ("auto", ["train.walk=1", "unlearn.steps=9", "audit.images=99"], ["train.walk", "unlearn.steps"]),
        ("unlearn", ["unlearn.enough=3", "unlearn.anomaly_index=2.5"], ["unlearn.enough=3"]),
        # a share of the way to a base that it does not know
        (
            "surgery",
            ["unlearn.base_damping=0.5", "unlearn.base_share=0.5"],
            ["unlearn.base_damping", "unlearn.base_share"],
        ),
        # a recovery would leave the texts moved
        ("mmcl", ["train.moves=model", "train.recover_steps=3"], ["train.recover_steps"]),
        ("unlearn", ["train.moves=image tower", "train.recover_steps=3"], ["train.recover_steps"]),
    ],
)
def test_overrides_that_contradict_a_recipe_are_all_told(name, changes, keys):
    with pytest.raises(UsageError) as caught:
        set_to(*changes, name=name)
    told = str(caught.value).split("\n")
    assert len(told) == len(keys)
    assert all(any(key in line for line in told) for key in keys)


# Runs.
@pytest.mark.parametrize(
    ("name", "changes", "pairs", "steps"),
    [
        ("cleanclip", [], 1000, 70),  # 10 epochs of 7 batches; 104 pairs are dropped each epoch
        ("cleanclip", [], 63, 0),
        ("cleanclip", ["train.epochs=0.29"], 12_800, 29),  # 0.29 * 100 is 28.999999999999996 in floating point
        ("cleanclip", ["train.epochs=1000", "train.max_steps=70"], 6400, 70),
        ("cleanclip", ["train.max_steps=70"], 128, 10),
        ("unlearn", ["unlearn.max_rounds=3", "unlearn.steps=10"], 500, 40),  # a round more than it searches after
    ],
)
def test_steps_are_whole_batches_times_epochs(name, changes, pairs, steps):
    assert recipe.total_steps(set_to(*changes, name=name), pairs=pairs) == steps


@pytest.mark.parametrize(
    ("changes", "enough", "error", "named"),
    [
        (["data.min_pairs=1000"], 1000, Inconclusive, "data.min_pairs"),
        (["train.warmup_steps=70"], 1024, UsageError, "train.warmup_steps"),  # as many as 10 epochs of 7 batches
        (["data.min_pairs=2", "train.warmup_steps=0"], 128, UsageError, "train.batch_size"),
    ],
)
def test_a_run_that_its_pairs_cannot_carry_is_refused_before_it_starts(changes, enough, error, named):
    recipe.check(set_to(*changes), pairs=enough)
    with pytest.raises(error, match=named):
        recipe.check(set_to(*changes), pairs=enough - 1)


@pytest.mark.parametrize(
    ("epochs", "warmup", "fitting"),
    [
        (2, 50, 3),  # a quarter of 14 steps
        (0.4, 50, 0),  # of 3 steps
        (2, 14, 3),  # as long as the run
        (2, 13, 13),  # it leaves one step
        (10, 50, 50),
    ],
)
def test_a_warm_up_that_fills_the_run_is_shortened_to_a_quarter_of_it(epochs, warmup, fitting):
    own = set_to(f"train.epochs={epochs}", f"train.warmup_steps={warmup}")
    found = recipe.with_fitting_warmup(own, pairs=1000)
    assert found == recipe.override(own, [f"train.warmup_steps={fitting}"])
    recipe.check(found, pairs=1000)


@pytest.mark.parametrize(
    ("name", "change", "fitting"),
    [
        ("cleanclip", "train.max_steps=12", 3),
        ("cleanclip", "train.max_steps=20", 5),  # as long as the warm-up of 20
        ("cleanclip", "train.max_steps=21", 20),
        ("unlearn", "unlearn.steps=4", 1),
    ],
)
def test_a_warm_up_that_nobody_set_shrinks_with_a_run_that_somebody_shortens(name, change, fitting):
    found = recipe.with_fitting_warmup(set_to(change, name=name), pairs=10_000)
    assert found.train.warmup_steps == fitting
    recipe.check(found, pairs=10_000)
    own = recipe.load(name).train.warmup_steps
    with pytest.raises(UsageError, match="warmup_steps"):
        set_to(change.replace("21", "20"), f"train.warmup_steps={own}", name=name)


def test_contradictions_of_a_hand_made_recipe_are_told():
    with pytest.raises(UsageError, match=r"loss\.self_supervised_weight"):
        recipe.check(PLAIN.model_copy(update={"loss": recipe.Loss(self_supervised_weight=0.0)}), pairs=1000)


def test_planting_has_bounds():
    assert recipe.planting(steps=7) == recipe.Planting(steps=7)
    with pytest.raises(UsageError) as caught:
        recipe.planting(rate=2.0, batch_size=1)
    assert [line.split(":")[0] for line in str(caught.value).split("\n")] == ["--rate", "--batch-size"]


def test_the_help_tells_the_defaults_that_hold():
    plant, planting = requests.options(requests.Plant), recipe.Planting()
    for name in ("rate", "steps", "walk", "batch_size"):
        assert float(plant[name].default_words) == getattr(planting, name), name
    assert requests.MAX_ACCURACY_LOSS.default_words.endswith(f" {thresholds.Audit().max_accuracy_loss:g}")


def test_no_warm_up_fits_a_run_without_a_step():
    for own, pairs in ((PLAIN, 63), (recipe.load("unlearn"), 100), (recipe.load("auto"), 100)):
        assert recipe.with_fitting_warmup(own, pairs=pairs) is own


# Digest and evidence.
def test_the_digest_is_that_of_sorted_compact_json():
    values = json.loads(PLAIN.model_dump_json())
    for key in ("version", "name", "revision", "description", "evidence", "auto"):
        del values[key]  # no run depends on them
    for name, section in values.items():
        own = getattr(PLAIN, name)
        for key in getattr(own, "ADDED_LATER_KEYS", ()):
            if section[key] == type(own).model_fields[key].default:
                del section[key]  # off, and younger than the first evidence
        for earlier, now in getattr(own, "FORMER_KEY_NAMES", {}).items():
            section[earlier] = section.pop(now)  # renamed, which changes no run
    text = json.dumps(values, sort_keys=True).replace(", ", ",").replace(": ", ":")
    assert recipe.digest(PLAIN) == hashlib.sha256(text.encode()).hexdigest()


def test_every_shipped_recipe_has_a_digest_of_its_own():
    known = recipe.names()
    assert len({recipe.digest(recipe.load(name)) for name in known}) == len(known)


def test_what_changes_no_run_leaves_the_digest():
    same = (set_to("train.walk=3.0"), PLAIN.model_copy(update={"description": "Other."}))
    assert {recipe.digest(each) for each in same} == {recipe.digest(PLAIN)}


def test_a_value_that_changes_a_run_changes_the_digest():
    for change in ("train.walk=3.1", "train.lr=1e-5", "augment.mirrored=0.1"):
        assert recipe.digest(set_to(change)) != recipe.digest(PLAIN)


def with_evidence(digest, **changes):
    made = block(recipe_sha256=digest).model_dump(mode="json", exclude_none=True) | changes
    return f"evidence: {json.dumps([made])}\n"  # JSON is YAML


@pytest.fixture
def own_block(write):
    """The section of a file of which the evidence is of the values of the HEAD alone."""
    return with_evidence(recipe.digest(recipe.load(write(""))))


def test_a_recipe_of_no_evidence_has_none_of_its_own(write):
    assert not recipe.own_evidence(recipe.load(write("")))


def test_evidence_leaves_the_digest(write, own_block):
    assert recipe.digest(recipe.load(write(own_block))) == recipe.digest(recipe.load(write("")))


def test_evidence_of_these_values_validates_them(write, own_block):
    assert recipe.own_evidence(recipe.load(write(own_block)))


def test_an_override_ends_the_evidence(write, own_block):
    assert not recipe.own_evidence(recipe.override(recipe.load(write(own_block)), ["train.lr=2e-5"]))


def test_an_edit_ends_the_evidence(write, own_block):
    assert not recipe.own_evidence(recipe.load(write(own_block + "train: {lr: 2e-5}\n")))


def test_faults_of_evidence_are_told_by_their_keys(write):
    message = refusal(write(with_evidence("0" * 64, after={"clean_accuracy": {"value": 3.0}})))
    for key in ("evidence.0.after.attack_success", "evidence.0.after.clean_accuracy.value"):
        assert key in message


# Methods and efforts: tables that others go by.


def test_every_method_that_a_recipe_may_name_has_an_entry():
    assert set(METHODS) == set(get_args(Recipe.model_fields["method"].annotation))


def test_every_method_that_finetunes_has_a_loss():
    assert set(losses.LOSSES) == {n for n, method in METHODS.items() if not (method.searches or method.chooses)}


def test_a_long_list_of_classes_is_halved_twice():
    """After 40 percent of the steps, and after 70."""
    assert effort.rows_by_step(25, steps=10) == [25] * 4 + [13] * 3 + [7] * 3
    assert effort.rows_by_step(64, steps=1) == [64]
    assert effort.rows_by_step(12, steps=10) == [12] * 4 + [6] * 6  # six go on in any case


def test_a_short_list_keeps_every_class_to_the_end():
    assert effort.rows_by_step(10, steps=4) == [10] * 4


# What evidence says of a model and a clean set; ranges are worked by hand.


SUBJECT = Subject("resnet-32px", 6_000_000, 4000, 400)


def measured_on(*blocks):
    """A recipe that was measured on the like of the subject: of each block what is left and the accuracy after."""
    plain = recipe.load("mmcl").model_copy(update={"evidence": None})
    same = {"recipe_sha256": recipe.digest(plain), "before": measured(0.6, 0.9, 0.0)}
    same |= {"kind": "resnet-32px", "parameters": 5_000_000, "pairs": 4000, "classes": 400}
    made = tuple(block(after=measured(after, left + 0.01, 0.01), **same) for left, after in blocks)
    return plain.model_copy(update={"evidence": made})


TWO = ((0.02, 0.59), (0.06, 0.57))
LEFT, GAINED = (0.8, 0.6), (0.02, 0.61)


def test_the_like_of_what_was_measured_is_rehearsed_with_its_range():
    found = evidence.applicability(measured_on(*TWO), SUBJECT)
    assert found.kind == "measured"
    assert found.expected.runs == 4
    assert found.expected.left == pytest.approx((0.02, 0.04, 0.06))
    assert found.expected.lost[1] == pytest.approx(0.02)  # 0.01 and 0.03
    assert all(number in str(found) for number in ("4,000", "5.0 M", "4.0 points", "2.0 points"))
    told = {left: found.reached(left, None) for left in (0.079, 0.081, -0.001)}  # 0.02 to 0.06 were left
    assert all(word in told[left] for left, word in ((0.079, "within"), (0.081, "worse"), (-0.001, "better")))


def test_other_values_than_were_measured_expect_nothing():
    changed = recipe.override(measured_on(*TWO), ["train.lr=2e-5"])
    assert evidence.applicability(changed, SUBJECT).kind == "other values"
    found = evidence.applicability(recipe.load("mmcl").model_copy(update={"evidence": None}), SUBJECT)
    assert (found.kind, found.expected, found.reached(0.1, 0.1)) == ("none", None, "")


UNLIKE = [
    (SUBJECT._replace(kind="vit-32px"), "other models"),
    (SUBJECT._replace(parameters=40_000_000), "other models"),
    (SUBJECT._replace(classes=1601), "other models"),
    (SUBJECT._replace(pairs=1999), "more pairs than the 1,999"),
    (SUBJECT._replace(pairs=16_001), "fewer pairs than the 16,001"),
]


@pytest.mark.parametrize(("subject", "word"), UNLIKE)
def test_what_was_not_measured_on_the_like_is_extrapolated_from_what_was(subject, word):
    outlook = evidence.applicability(measured_on(*TWO), subject)
    assert outlook.kind == "extrapolated"
    assert word in str(outlook)
    assert outlook.expected is not None


@pytest.mark.parametrize("subject", [SUBJECT, *(subject for subject, _ in UNLIKE)])
def test_runs_that_removed_nothing_are_no_evidence_for_any_subject(subject):
    outlook = evidence.applicability(measured_on(TWO[0], LEFT), subject)
    assert (outlook.kind, outlook.kind in evidence.OWN_KINDS) == ("no removal", False)


@pytest.mark.parametrize(
    ("blocks", "left", "lost", "words"),
    [
        (TWO, 0.05, 0.10, ["5.0 points", "within", "10.0 points", "worse", "at most 3.0 points"]),
        ((GAINED,), None, 0.193, ["19.3 points", "worse", "1.0 points", "gained"]),
        (TWO, None, None, []),
    ],
)
def test_a_run_is_placed_in_the_measured_range(blocks, left, lost, words):
    told = evidence.applicability(measured_on(*blocks), SUBJECT).reached(left, lost)
    assert bool(told) == bool(words)
    assert all(word in told for word in words)


def test_a_recipe_that_names_no_candidates_with_a_base_takes_those_of_auto():
    auto = recipe.load("auto")
    own = recipe.override(auto, ["auto.candidates_with_base=null"])
    assert recipe.undoing(own).auto.candidates == recipe.undoing(auto).auto.candidates


def test_with_a_base_the_candidates_that_need_it_come_first():
    auto = recipe.load("auto")
    assert recipe.undoing(auto).auto.candidates == (*auto.auto.candidates_with_base, *auto.auto.candidates)


def test_candidates_that_need_a_base_are_added_once():
    first = recipe.undoing(recipe.load("auto"))
    assert recipe.undoing(first) == first


@pytest.mark.parametrize(
    ("name", "changes", "key"),
    [
        ("surgery", ["train.lr=1e-4"], "train.damping"),  # its steps are relative to the weights
        ("par", ["train.damping=0.1", "train.weight_decay=0"], "train.damping"),  # the text tower moves as well
        ("surgery", ["train.weight_decay=0.1"], "train.damping"),
        ("auto", ["auto.candidates=[]"], "auto.candidates"),
    ],
)
def test_values_that_would_do_nothing_or_something_else_are_refused(name, changes, key):
    with pytest.raises(UsageError, match=re.escape(key)):
        recipe.override(recipe.load(name), changes)
