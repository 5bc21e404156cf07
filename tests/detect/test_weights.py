import math

import pytest
import torch

from clipclean.detect import weights
from clipclean.errors import UsageError

BASE = {
    "visual.conv1.weight": torch.tensor([3.0, 4.0]),  # length 5
    "visual.layer1.0.conv1.weight": torch.tensor([0.0, 5.0]),
    "visual.layer1.0.conv2.weight": torch.tensor([12.0]),
    "visual.layer1.0.bn1.num_batches_tracked": torch.tensor(7),
    "logit_scale": torch.tensor(0.0),
}


def moved(**changes):
    return BASE | {name.replace("__", "."): torch.tensor(value) for name, value in changes.items()}


def test_a_model_that_was_not_finetuned_has_not_moved():
    made = weights.compare(BASE, BASE)
    assert (made.whole.relative, made.whole.changed, made.whole.tensors) == (0, 0, 4)
    assert [change.relative for change in made.layers] == [0, 0, 0]


def test_layers_are_ordered_by_the_length_of_the_difference_over_what_it_was():
    # conv1 moves by (0, 1) of 5: 0.2. Of the block (0, 5; 12) = 13 one tensor moves by 2.6: 0.2 as well; by 3.9: 0.3.
    made = weights.compare(moved(visual__conv1__weight=[3.0, 5.0], visual__layer1__0__conv2__weight=[15.9]), BASE)
    assert [(c.name, round(c.relative, 6), c.changed, c.tensors) for c in made.layers] == [
        ("visual.layer1.0", 0.3, 1, 2),
        ("visual.conv1", 0.2, 1, 1),
        ("logit_scale", 0.0, 0, 1),
    ]
    assert made.tensors[0].name == "visual.layer1.0.conv2.weight"
    assert made.tensors[0].relative == pytest.approx(3.9 / 12)
    # all in all: sqrt(1 + 3.9²) of sqrt(25 + 169)
    assert made.whole.relative == pytest.approx(math.sqrt(1 + 3.9**2) / math.sqrt(194))


def test_what_was_zero_and_moved_comes_first_without_a_number():
    made = weights.compare(moved(logit_scale=1.0, visual__conv1__weight=[30.0, 40.0]), BASE)
    assert [change["relative"] for change in made.record(name="base", sha256="0" * 64).as_json()["layers"]] == [
        None,
        pytest.approx(9.0),
        0.0,
    ]


def test_counters_are_no_weights():
    made = weights.compare(moved(visual__layer1__0__bn1__num_batches_tracked=9), BASE)
    assert made.whole.changed == 0


@pytest.mark.parametrize(
    "other", [{"visual.proj": torch.ones(2)}, {"visual.conv1.weight": torch.ones(3)}], ids=["more", "shape"]
)
def test_models_of_other_tensors_are_refused(other):
    with pytest.raises(UsageError, match=rf"1 differ, such as {next(iter(other))}"):
        weights.compare(BASE | other, BASE)


@pytest.mark.parametrize(
    ("tensor", "layer"),
    [
        ("visual.transformer.resblocks.11.mlp.c_fc.weight", "visual.transformer.resblocks.11"),
        ("visual.layer2.3.conv1.weight", "visual.layer2.3"),
        ("visual.attnpool.q_proj.bias", "visual.attnpool"),
        ("visual.proj", "visual.proj"),
        ("token_embedding.weight", "token_embedding"),
        ("logit_scale", "logit_scale"),
    ],
)
def test_a_layer_is_a_block_or_a_module(tensor, layer):
    assert weights.layer_of(tensor) == layer
