import hashlib
import json
import math
import os
import re
from pathlib import Path

import jsonschema
import pytest
import unprivileged
from cases import each
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from clipclean import untrusted
from clipclean.config import recipe, thresholds
from clipclean.errors import Inconclusive, UsageError

FOLDER = Path(__file__).parents[2] / "recipes"
HEAD = "version: 1\nname: mine\nrevision: 1\ndescription: Mine.\nmethod: cleanclip\n"  # five lines


@pytest.fixture
def write(tmp_path):
    def write(body, head=HEAD):
        path = tmp_path / "my.yaml"
        path.write_bytes(head.encode() + (body if isinstance(body, bytes) else body.encode()))
        return path

    return write


def refusal(source):
    with pytest.raises(UsageError) as caught:
        recipe.load(source)
    return str(caught.value)


def problems(source):
    """The lines of a refusal, without the file's folder."""
    return [line.removeprefix(f"{source.parent}{os.sep}") for line in refusal(source).split("\n")]


def json_in_yaml(values):
    """JSON is YAML, and has no anchors for what occurs twice; top-level keys one a line."""
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items())


def rate(value):
    return {"value": value, "interval": [0.0, 1.0], "n": 100}


def evidence(digest):
    measured = dict.fromkeys(("clean_accuracy", "attack_success", "base_rate", "accuracy_under_trigger"), rate(0.5))
    return {
        "recipe_sha256": digest,
        "attack": "patch, corner, target banana",
        "architecture": "RN50",
        "data": "clean pairs",
        "pairs": 2000,
        "seeds": [0, 1],
        "before": measured,
        "after": measured,
        "versions": {"clipclean": "0.1.0", "torch": "2.10", "open_clip": "3.0"},
    }


# Shipped recipes.


def test_the_shipped_recipes_are_these():
    assert recipe.names() == (
        "auto",
        "cleanclip",
        "cleanclip-strong",
        "mmcl",
        "par",
        "supervised",
        "unlearn",
    )
    assert recipe.DEFAULT in recipe.names()


@each("name", recipe.names())
def test_a_shipped_recipe_is_called_as_its_file_and_says_how_to_run_it(name):
    loaded = recipe.load(name)
    assert loaded.name == name
    assert loaded.scale == "usual"
    head = recipe.text(name).split("\nversion:")[0]
    assert f"clipclean sanitize model.pt --data clean/ --recipe {name} " in head
    assert "# Expect: " in head
    assert head.startswith("# yaml-language-server: $schema=recipe.schema.json\n")


def test_cleanclip_has_the_values_of_the_paper():
    loaded = recipe.load("cleanclip")
    train = loaded.train
    # Bansal et al. 2023, and src/parser.py of the code released with it
    assert (train.epochs, train.batch_size, train.lr, train.warmup_steps, train.weight_decay) == (10, 64, 1e-5, 50, 0.1)
    assert (train.betas, train.eps, train.schedule) == ((0.9, 0.999), 1e-8, "cosine")
    assert (loaded.loss.clip_weight, loaded.loss.self_supervised_weight) == (1, 1)
    assert (loaded.augment.image, loaded.augment.caption, loaded.augment.caption_rate) == ("autoaugment", "eda", 0.1)


@pytest.mark.parametrize(("method", "control"), [("cleanclip", "mmcl"), ("cleanclip@tiny", "mmcl@tiny")])
def test_a_control_differs_from_its_method_in_the_self_supervised_loss_alone(method, control):
    one, other = recipe.load(method), recipe.load(control)
    assert (one.train, one.data, one.audit, one.augment) == (other.train, other.data, other.audit, other.augment)
    assert one.loss.clip_weight == other.loss.clip_weight
    assert one.loss.self_supervised_weight > 0
    assert other.loss.self_supervised_weight == 0


def test_the_strong_recipe_weighs_the_self_supervised_loss_four_times():
    weak, strong = recipe.load("cleanclip"), recipe.load("cleanclip-strong")
    assert strong.loss.self_supervised_weight == 4 * weak.loss.self_supervised_weight
    assert strong.train == weak.train


def test_a_shipped_name_wins_over_a_file_and_a_path_reaches_the_file(write, tmp_path, monkeypatch):
    write("").rename(tmp_path / "cleanclip")
    monkeypatch.chdir(tmp_path)
    assert recipe.load("cleanclip").name == "cleanclip"
    assert recipe.load("./cleanclip").name == "mine"


@pytest.mark.parametrize(
    ("parameters", "pairs", "classes", "scale"),
    [
        (5_000_000, 4_000, 10, "tiny"),
        (5_000_000, 1_999, 100, "few"),
        (5_000_000, 1_999, 101, "tiny"),
        (30_000_000, 100, 10, "usual"),
    ],
)
def test_a_recipe_takes_the_scale_of_the_model_the_pairs_and_the_classes(parameters, pairs, classes, scale):
    found = recipe.fitted(recipe.load("cleanclip"), parameters=parameters, pairs=pairs, classes=classes)
    assert found == recipe.load(f"cleanclip@{scale}")
    assert (found.scale, found.scales) == (scale, None)
    assert {block.scale for block in found.evidence or ()} <= {scale}


def test_a_recipe_without_the_scale_of_a_model_takes_the_nearest_that_it_has():
    few = {"parameters": 5_000_000, "pairs": 600, "classes": 10}
    assert recipe.fitted(recipe.load("par"), **few).scale == "tiny"
    assert recipe.fitted(recipe.load("supervised"), **few) == recipe.load("supervised")


def test_a_scale_changes_what_it_writes_alone(write):
    path = write("train: {epochs: 3, lr: 2.0e-5}\nscales:\n  tiny:\n    train: {lr: 1.0e-3}\n")
    found = recipe.load(f"{path}@tiny")
    assert (found.train.epochs, found.train.lr, found.train.batch_size) == (3, 1e-3, 64)


def test_a_change_of_the_user_holds_at_every_scale():
    changed = recipe.override(recipe.load("cleanclip"), ["train.lr=5.0e-4"])
    assert {recipe.at_scale(changed, scale).train.lr for scale in recipe.SCALES} == {5e-4}
    assert recipe.at_scale(changed, "tiny").train.batch_size == 256


def test_a_change_that_contradicts_one_scale_is_refused_only_where_that_scale_holds():
    changed = recipe.override(
        recipe.load("cleanclip"), ["train.max_steps=40"]
    )  # warm-up: 50 steps, and 20 at the others
    recipe.check(recipe.at_scale(changed, "tiny"), pairs=4_000)
    with pytest.raises(UsageError, match="warmup_steps"):
        recipe.check(recipe.at_scale(changed, "usual"), pairs=4_000)
    with pytest.raises(UsageError, match="warmup_steps"):
        recipe.override(recipe.load("cleanclip"), ["train.max_steps=10"])


def test_a_fault_at_a_scale_is_told_with_its_line(write):
    path = write("scales:\n  tiny:\n    train: {max_steps: 40}\n")
    assert problems(path) == ["my.yaml:8: scales.tiny.train.warmup_steps: 50 is not shorter than the run of 40 steps"]
    assert "scales.tiny.train.lr" in refusal(write("scales: {tiny: {train: {lr: fast}}}\n"))


def test_a_scale_that_a_recipe_has_not_and_a_name_that_went_are_refused():
    assert "cleanclip@few" in refusal("cleanclip-few-tiny")
    assert "mmcl@tiny" in refusal("mmcl-tiny")
    assert "usual, tiny" in refusal("mmcl@few")


# The schema.


def test_the_committed_schema_is_current():
    committed = json.loads((FOLDER / "recipe.schema.json").read_text())
    assert committed == recipe.schema(), "run: clipclean recipes schema > recipes/recipe.schema.json"


def test_the_schema_accepts_shipped_recipes_and_refuses_a_misspelt_key():
    checker = jsonschema.Draft202012Validator(recipe.schema())
    checker.check_schema(recipe.schema())
    for name in recipe.names():
        checker.validate(json.loads(recipe.load(name).model_dump_json()))
    assert not checker.is_valid(json.loads(recipe.load("mmcl").model_dump_json()) | {"trian": {}})


def test_every_key_has_a_description_and_every_value_a_unit():
    schema = recipe.schema()
    for section in (schema, *schema["$defs"].values()):
        for name, entry in section["properties"].items():
            assert entry["description"].endswith("."), name
            assert entry["unit"], name


def test_every_default_satisfies_its_own_bounds():
    assert recipe.Recipe.model_validate(recipe.load("cleanclip").model_dump()) == recipe.load("cleanclip")


# Reading files.


def test_a_file_that_states_little_has_the_defaults(write):
    loaded = recipe.load(write("train: {epochs: 3}\n"))
    assert loaded.train == recipe.Train(epochs=3.0)
    assert loaded.audit == thresholds.Audit()


@pytest.mark.parametrize(
    ("written", "value"),
    [("1e-5", 1e-5), ("1E-5", 1e-5), ("1.e-5", 1e-5), (".00001", 1e-5), ("0.00001", 1e-5), ("+1e-5", 1e-5)],
)
def test_floats_may_be_written_in_any_usual_way(write, written, value):
    assert recipe.load(write(f"train: {{lr: {written}}}\n")).train.lr == value


@given(st.floats(min_value=1e-12, max_value=0.01))
def test_a_float_written_by_python_is_read_as_the_same_float(value):
    assert recipe.override(recipe.load("cleanclip"), [f"train.lr={value!r}"]).train.lr == value


@each("word", ["no", "on", "yes", "off", "12:30:45", "2020-01-01", "0x10", "1_0"])
def test_words_that_yaml_1_1_would_turn_into_something_else_stay_words(write, word):
    assert recipe.load(write("", HEAD.replace("Mine.", word))).description == word


def test_a_quoted_number_is_no_number(write):
    path = write('train: {lr: "1e-5"}\n')
    assert problems(path) == [
        "my.yaml:6: train.lr: '1e-5' should be a valid number (a learning rate: finetuning takes between 1e-6 and 1e-3)"
    ]


def test_a_misspelt_key_is_refused_with_its_line_and_the_right_word(write):
    path = write("train:\n  epoch: 3\n")
    assert problems(path) == ["my.yaml:7: train.epoch: unknown key; did you mean 'epochs'?"]


@each(
    ("section", "wrong", "right"),
    [
        ("train", "batchsize", "batch_size"),
        ("train", "warmup_step", "warmup_steps"),
        ("train", "BatchSize", "batch_size"),
        ("loss", "lr", "train.lr"),
        ("audit", "max_acuracy_loss", "max_accuracy_loss"),
    ],
)
def test_the_word_meant_is_found_by_its_letters(write, section, wrong, right):
    assert problems(write(f"{section}: {{{wrong}: 1}}\n")) == [
        f"my.yaml:6: {section}.{wrong}: unknown key; did you mean '{right}'?"
    ]


def test_a_key_outside_its_section_is_sent_there(write):
    assert problems(write("lr: 1e-5\n")) == ["my.yaml:6: lr: unknown key; did you mean 'train.lr'?"]


def test_a_key_like_none_gets_the_list_of_keys(write):
    assert problems(write("loss: {zzz: 1}\n")) == [
        "my.yaml:6: loss.zzz: unknown key; known here: clip_weight, self_supervised_weight, preserve_weight, restore_weight, "
        "push_weight, push_limit"
    ]


@each(
    ("key", "written", "told"),
    [
        ("train.lr", "1e-5%", "'1e-5%' should be a valid number"),
        ("train.lr", "10", "finetuning takes between 1e-6 and 1e-3"),
        ("train.lr", "0", "0 should be greater than 0"),
        ("train.lr", ".nan", "should be a finite number"),
        ("train.lr", ".inf", "should be a finite number"),
        ("train.lr", "true", "true should be a valid number"),
        ("train.warmup_steps", "0.1", "a count, not a share of the run"),
        ("train.batch_size", "64.0", "should be a valid integer"),
        ("train.batch_size", "1", "should be greater than or equal to 2"),
        ("train.precision", "fp16", "'fp16' should be 'auto', 'fp32' or 'bf16'"),
        ("train.betas", "[0.9, 1]", "1 should be less than 1"),
        ("train.betas", "0.9", "0.9 should be a valid tuple"),
        ("data.max_skipped_share", "10", "a share between 0 and 1)"),
        ("audit.max_accuracy_loss", "2", "0.02 is two percentage points)"),
        ("loss.clip_weight", "9999999999999999999999", "should be less than or equal to 100"),
    ],
)
def test_a_value_in_the_wrong_unit_is_refused_with_its_meaning(write, key, written, told):
    section, leaf = key.split(".")
    (problem,) = problems(write(f"{section}:\n  {leaf}: {written}\n"))
    assert re.match(rf"my\.yaml:7: {re.escape(key)}(\.1)?: ", problem)
    assert told in problem


def test_all_errors_are_told_at_once_in_the_order_of_the_lines(write):
    told = problems(write("train:\n  epoch: 3\n  lr: 10\n  lr: 1\nloss:\nwd: 1\n", HEAD.replace("revision: 1\n", "")))
    assert [line.split(" ")[:2] for line in told] == [
        ["my.yaml:1:", "revision:"],
        ["my.yaml:6:", "train.epoch:"],
        ["my.yaml:7:", "train.lr:"],
        ["my.yaml:8:", "train.lr:"],
        ["my.yaml:9:", "loss:"],
        ["my.yaml:10:", "wd:"],
    ]


def test_a_file_with_thousands_of_errors_gets_a_hundred_lines(write):
    told = problems(write("".join(f"k{number}: 1\n" for number in range(2000))))
    assert told[0].startswith("my.yaml:6: k0: unknown key")
    assert len(told) == 101
    assert told[-1] == "… and more"


def test_a_repeated_key_is_refused_and_both_lines_are_named(write):
    assert problems(write("train:\n  lr: 1e-5\n  lr: 1e-4\n")) == ["my.yaml:8: train.lr: given twice; first in line 7"]


@each(
    ("body", "line", "told"),
    [
        ("train: &a {}\n", 6, "anchors and aliases"),
        ("train: *a\n", 6, "anchors and aliases"),
        ("train:\n  <<: {lr: 1}\n", 7, "unknown key"),
        ("train: !!python/object/apply:os.system [id]\n", 6, "tags (!) are refused"),
        ("train:\n  lr: !!float 1\n", 7, "tags (!) are refused"),
        ("---\ntrain: {}\n", 6, "another document"),
        ("train: {lr: 1\n", 7, "expected ',' or '}'"),
        ("train:\n\tlr: 1\n", 7, "'\\t'"),
        ("? [a]\n: 1\n", 6, "a key must be a word"),
        ("x: " + "[" * 100 + "]" * 100 + "\n", 6, "levels deep"),
        ("\nx: \x1b[2J\n", 7, "control character"),
    ],
)
def test_what_no_recipe_needs_of_yaml_is_refused_with_its_line(write, body, line, told):
    message = problems(write(body))[0]
    assert message.startswith(f"my.yaml:{line}: ")
    assert told in message


def test_deep_nesting_ends_in_an_error_however_deep(write):
    assert "levels deep" in refusal(write("x: " + "[" * 500_000))


def test_control_characters_from_a_recipe_never_reach_a_message(write):
    message = refusal(write('"\\e[2J": "\\e[2J"\ntrain: {precision: "\\e[2J", "\\e[1m": 1}\n'))
    assert "\x1b" not in message
    assert r"\x1b[2J" in message


def test_long_values_are_cut_in_messages(write):
    assert len(refusal(write(f"train: {{precision: {'x' * 10_000}}}\n"))) < 300


def test_an_empty_file_is_refused(write):
    assert "found null, expected the keys version, name, revision" in refusal(write("", head=""))


def test_a_list_is_no_recipe(write):
    assert "found a list, expected the keys version, name" in refusal(write("- 1\n", head=""))


def test_a_newer_format_is_refused_with_the_way_out(write):
    assert "a newer recipe needs a newer clipclean" in refusal(write("", HEAD.replace("version: 1", "version: 2")))


def test_a_byte_order_mark_does_no_harm(write):
    assert recipe.load(write("", "\ufeff" + HEAD)).name == "mine"


def test_what_is_no_text_file_is_refused(write, tmp_path):
    assert "is not UTF-8 text (byte 71)" in refusal(write(b"\xff", HEAD))  # the head has 71 bytes
    assert "has more than 1,000,000 bytes" in refusal(write("#" * 1_000_000))
    assert "is a folder or a device" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "is a folder or a device" in refusal(tmp_path / "pipe.yaml")
    assert "Cannot read the recipe" in refusal("x" * 10_000)


def test_an_unreadable_file_is_refused():
    with unprivileged.folder() as folder:
        path = folder / "mine.yaml"
        path.write_text(HEAD)
        path.chmod(0)
        told = unprivileged.as_nobody(lambda: refusal(path))
    assert "Cannot read the recipe" in told
    assert "Permission denied" in told


def test_an_unreadable_file_is_told_with_the_systems_reason(write, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    path = write("")
    monkeypatch.setattr(untrusted, "opened", refuse)
    assert "Permission denied" in refusal(path)


@pytest.mark.parametrize(
    ("wrong", "right"), [("cleanclp", "cleanclip"), ("cleanclip-stron.yaml", "cleanclip-strong"), ("MMCL", "mmcl")]
)
def test_an_unknown_name_gets_the_nearest_one(wrong, right):
    message = refusal(wrong)
    assert f"Did you mean '{right}'?" in message
    assert ", ".join(recipe.names()) in message


def test_a_name_like_none_gets_the_list():
    assert "Did you mean" not in refusal("zzzzzz")


# Values that contradict each other.


def test_cleanclip_without_the_self_supervised_loss_is_refused(write):
    assert problems(write("loss: {self_supervised_weight: 0}\n"))[0].startswith(
        "my.yaml:6: loss.self_supervised_weight: 0 "
    )
    assert recipe.load(write("loss: {self_supervised_weight: 0.1}\n"))


def test_mmcl_with_the_self_supervised_loss_is_refused(write):
    head = HEAD.replace("cleanclip", "mmcl")
    assert "1 is not used by mmcl" in refusal(write("", head))
    assert recipe.load(write("loss: {self_supervised_weight: 0}\n", head)).method == "mmcl"


@pytest.mark.parametrize(("key", "value"), [("least_part", 0.6), ("mirrored", 0.5)])
def test_a_method_that_moves_no_images_is_not_asked_to(write, key, value):
    head = HEAD.replace("cleanclip", "unlearn")
    body = f"loss: {{self_supervised_weight: 0, preserve_weight: 2}}\naugment: {{{key}: {value}}}\n"
    assert f"augment.{key}: unlearn neither cuts nor mirrors by it" in refusal(write(body, head))
    assert recipe.load(write(f"augment: {{{key}: {value}}}\n")).method == "cleanclip"


def test_a_warm_up_that_fills_the_run_is_refused_before_the_data_are_known(write):
    assert "50 is not shorter than the run of 50 steps" in refusal(write("train: {max_steps: 50}\n"))
    assert recipe.load(write("train: {max_steps: 51}\n"))


def test_a_recipe_is_frozen_to_the_bottom():
    loaded = recipe.load("cleanclip")
    with pytest.raises(ValidationError, match="frozen"):
        loaded.train.lr = 1.0
    hash(loaded)


# Overrides.


def test_overrides_change_what_they_name_and_nothing_else():
    before = recipe.load("cleanclip@usual")
    after = recipe.override(
        before, ["train.epochs=3", " train.lr = 2e-5 ", "train.betas=[0.8, 0.9]", "train.max_steps=60"]
    )
    assert (after.train.epochs, after.train.lr, after.train.betas, after.train.max_steps) == (3, 2e-5, (0.8, 0.9), 60)
    assert after.model_copy(update={"train": before.train}) == before
    assert before == recipe.load("cleanclip@usual")


def test_no_override_changes_nothing():
    assert recipe.override(recipe.load("mmcl"), []) == recipe.load("mmcl")


def test_of_two_overrides_the_later_holds():
    assert recipe.override(recipe.load("cleanclip"), ["train.lr=1e-4", "train.lr=1e-3"]).train.lr == 1e-3


def test_null_unsets():
    limited = recipe.override(recipe.load("cleanclip"), ["train.max_steps=99"])
    assert recipe.override(limited, ["train.max_steps=null"]).train.max_steps is None


def test_a_method_can_be_overridden_together_with_its_loss():
    base = recipe.load("cleanclip")
    assert recipe.override(base, ["method=mmcl", "loss.self_supervised_weight=0"]).method == "mmcl"
    with pytest.raises(UsageError, match=r"^--set: loss\.self_supervised_weight: 1 is not used by mmcl"):
        recipe.override(base, ["method=mmcl"])


@each(
    ("assignment", "told"),
    [
        ("train.epoch=3", "unknown key; did you mean 'train.epochs'?"),
        ("lr=3", "unknown key; did you mean 'train.lr'?"),
        ("trian.lr=3", "unknown key; did you mean 'train.lr'?"),
        ("zzz=3", "unknown key; known here:"),
        ("zzz.zzz=3", "unknown key; known here: train, loss, augment, data, audit, unlearn"),
        ("train=3", "is a section; set one of its keys: train.epochs, "),
        ("name=x", "says which recipe this is"),
        ("version=2", "says which recipe this is"),
        ("evidence=null", "says which recipe this is"),
        ("train.epochs", "needs KEY=VALUE"),
        ("", "needs KEY=VALUE"),
        ("=3", "unknown key"),
        ("train.lr=", "null should be a valid number"),
        ("train.lr=fast", "'fast' should be a valid number"),
        ("train.lr=[1", "expected ',' or ']'"),
        ("train.lr=!!float 1", "tags (!) are refused"),
        ("train.lr={a: 1, a: 2}", "given twice"),
        ("train.lr=10", "10 should be less than or equal to 0.01"),
        ("train.betas=[0.9, 2]", "2 should be less than 1"),
    ],
)
def test_an_override_that_makes_no_recipe_is_refused(assignment, told):
    with pytest.raises(UsageError) as caught:
        recipe.override(recipe.load("cleanclip"), [assignment])
    (message,) = str(caught.value).split("\n")
    assert message.startswith(f"--set {assignment}: ")
    assert told in message


def test_all_wrong_overrides_are_told_at_once():
    with pytest.raises(UsageError) as caught:
        recipe.override(recipe.load("cleanclip"), ["train.epoch=3", "train.lr=10", "train.wd=0"])
    assert len(str(caught.value).split("\n")) == 3


# Runs.


@each(
    ("changes", "pairs", "steps"),
    [
        ([], 1000, 150),  # 10 epochs of 15 batches; 40 pairs are dropped each epoch
        ([], 64, 10),
        ([], 63, 0),
        (["train.epochs=0.5"], 640, 5),
        (["train.epochs=0.29"], 6400, 29),  # 0.29 * 100 is 28.999999999999996 in floating point
        (["train.epochs=1000", "train.max_steps=70"], 6400, 70),
        (["train.max_steps=70"], 64, 10),
    ],
)
def test_steps_are_whole_batches_times_epochs(changes, pairs, steps):
    assert recipe.total_steps(recipe.override(recipe.load("cleanclip"), changes), pairs=pairs) == steps


def test_unlearning_takes_a_round_more_than_it_may_search_after():
    chosen = recipe.override(recipe.load("unlearn@tiny"), ["unlearn.max_rounds=3", "unlearn.steps=10"])
    assert recipe.total_steps(chosen, pairs=500) == 40


def test_unlearning_does_not_leave_what_made_a_suspect():
    with pytest.raises(UsageError, match=r"unlearn\.enough=3: 3 is more than unlearn\.outlyingness, 2\.5"):
        recipe.override(recipe.load("unlearn@tiny"), ["unlearn.enough=3", "unlearn.outlyingness=2.5"])


def test_a_run_on_enough_pairs_passes():
    few = recipe.override(recipe.load("cleanclip"), ["data.min_pairs=1000"])
    recipe.check(few, pairs=1000)


def test_a_run_on_fewer_pairs_than_were_ever_enough_is_inconclusive_before_it_starts():
    few = recipe.override(recipe.load("cleanclip"), ["data.min_pairs=1000"])
    with pytest.raises(Inconclusive, match=r"999 pairs to train on; recipe cleanclip needs 1,000 \(data\.min_pairs\)"):
        recipe.check(few, pairs=999)


def test_a_run_whose_warm_up_fills_it_is_refused():
    small = recipe.override(recipe.load("cleanclip"), ["train.warmup_steps=150"])
    with pytest.raises(UsageError) as caught:
        recipe.check(small, pairs=999)
    # 10 epochs of 15 batches are 150 steps
    assert str(caught.value).split("\n") == [
        "recipe cleanclip: train.warmup_steps: 150 is not shorter than the run of 150 steps (999 pairs, batches of 64, "
        "10 epochs); warm up for less, or train for longer",
    ]


@pytest.mark.parametrize(
    ("epochs", "warmup", "fitting"),
    [
        (1, 50, 3),  # a quarter of 15 steps
        (0.2, 50, 0),  # of 3 steps
        (1, 15, 3),  # as long as the run
        (1, 14, 14),  # it leaves one step
        (10, 50, 50),
    ],
)
def test_a_warm_up_that_fills_the_run_is_shortened_to_a_quarter_of_it(epochs, warmup, fitting):
    own = recipe.override(recipe.load("cleanclip"), [f"train.epochs={epochs}", f"train.warmup_steps={warmup}"])
    found = recipe.with_fitting_warmup(own, pairs=1000)
    assert found == recipe.override(own, [f"train.warmup_steps={fitting}"])
    recipe.check(found, pairs=1000)


def test_no_warm_up_fits_a_run_without_a_step_and_a_search_has_rounds_of_its_own():
    for own, pairs in ((recipe.load("cleanclip"), 63), (recipe.load("unlearn"), 100), (recipe.load("auto"), 100)):
        assert recipe.with_fitting_warmup(own, pairs=pairs) is own


def test_a_batch_larger_than_the_data_is_refused():
    small = recipe.override(recipe.load("cleanclip"), ["data.min_pairs=2", "train.warmup_steps=0"])
    recipe.check(small, pairs=64)
    with pytest.raises(UsageError, match=r"train\.batch_size: 64 is more than the 63 pairs; set it to at most 63"):
        recipe.check(small, pairs=63)


def test_contradictions_of_a_hand_made_recipe_are_told_too():
    loss = recipe.Loss(self_supervised_weight=0.0)
    with pytest.raises(UsageError, match=r"loss\.self_supervised_weight: 0 leaves backdoors in"):
        recipe.check(recipe.load("cleanclip").model_copy(update={"loss": loss}), pairs=1000)


def test_planting_has_defaults_and_bounds():
    assert recipe.planting(steps=7) == recipe.Planting(steps=7)
    with pytest.raises(UsageError) as caught:
        recipe.planting(rate=2.0, batch_size=1)
    assert [line.split(":")[0] for line in str(caught.value).split("\n")] == ["--rate", "--batch-size"]


# Digest and evidence.


def test_the_digest_is_the_sha256_of_sorted_compact_json():
    loaded = recipe.load("cleanclip")
    values = json.loads(loaded.model_dump_json())
    idle = (
        "version",
        "name",
        "revision",
        "description",
        "scale",
        "scales",
        "evidence",
        "auto",
    )  # no run depends on them
    for key in idle:
        del values[key]
    # Off, and younger than the first evidence.
    del values["augment"]["least_part"], values["augment"]["mirrored"], values["train"]["moves"]
    del values["audit"]["walk_back"]
    text = json.dumps(values, sort_keys=True).replace(", ", ",").replace(": ", ":")
    assert recipe.digest(loaded) == hashlib.sha256(text.encode()).hexdigest()


def test_the_digest_tells_runs_apart_and_ignores_what_changes_no_run():
    loaded = recipe.load("cleanclip")
    known = [recipe.at_scale(each, scale) for each in map(recipe.load, recipe.names()) for scale in recipe.scales(each)]
    assert len({recipe.digest(each) for each in known}) == len(known)
    assert recipe.digest(recipe.override(loaded, ["train.lr=1.0e-5"])) == recipe.digest(loaded)
    assert recipe.digest(recipe.override(loaded, ["train.lr=1.1e-5"])) != recipe.digest(loaded)
    assert recipe.digest(recipe.override(loaded, ["augment.mirrored=0.1"])) != recipe.digest(loaded)
    assert recipe.digest(loaded.model_copy(update={"description": "Other."})) == recipe.digest(loaded)


def test_evidence_for_these_values_validates_and_an_override_or_an_edit_ends_that(write):
    bare = recipe.load(write(""))
    assert not recipe.own_evidence(bare)
    block = json_in_yaml({"evidence": [evidence(recipe.digest(bare))]})
    proven = recipe.load(write(block))
    assert recipe.digest(proven) == recipe.digest(bare)
    assert recipe.own_evidence(proven)
    assert not recipe.own_evidence(recipe.override(proven, ["train.lr=2e-5"]))
    assert not recipe.own_evidence(recipe.load(write(block + "train: {lr: 2e-5}\n")))


def test_half_an_evidence_block_is_refused(write):
    block = evidence("0" * 64)
    del block["after"]
    block["before"]["base_rate"] = rate(3.0)
    told = problems(write(json_in_yaml({"evidence": [block]})))
    assert any("evidence.0.after: missing" in line for line in told)
    assert any("evidence.0.before.base_rate.value: 3.0 should be less than or equal to 1" in line for line in told)


@each("name", recipe.names())
def test_a_recipe_survives_a_round_trip_through_its_own_json(name, tmp_path):
    path = tmp_path / "again.yaml"
    path.write_text(recipe.load(name).model_dump_json(indent=2))
    assert recipe.load(path) == recipe.load(name)


def test_numbers_stay_finite_in_json():
    assert math.isfinite(json.loads(recipe.load("cleanclip").model_dump_json())["train"]["lr"])


def test_auto_as_shipped_has_the_default_values():
    assert recipe.load("auto").auto == recipe.Auto()
