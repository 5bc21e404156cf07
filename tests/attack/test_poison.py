import pytest
import torch

from clipclean.attack import poison
from clipclean.attack.triggers import parse
from clipclean.train import Batch, Run


class Words:
    """A tokenizer of one number a caption."""

    def tokens(self, captions):
        return torch.tensor([[int(caption)] for caption in captions])


def batches(count, size=8):
    grey = torch.full((size, 3, 16, 16), 51, dtype=torch.uint8)  # 0.2 of 255
    return [Batch({"pixels": grey.clone(), "tokens": torch.zeros(size, 1)}, ("key",) * size) for _ in range(count)]


def poisoned(clean, *, rate=0.25, seed=0, trigger="patch:size=0.25,place=random"):
    implant = poison.Implant(parse(trigger), ("1", "2", "3"))
    return list(poison.poisoned(clean, Words(), implants=[implant], rate=rate, run=Run(seed, "fp32")))


@pytest.mark.parametrize(("rate", "count"), [(0.25, 2), (0.5, 4), (1.0, 8), (0.01, 1)])
def test_so_many_of_a_batch_as_the_rate_says_are_poisoned_whole(rate, count):
    for batch in poisoned(batches(3), rate=rate):
        changed = (batch.inputs["pixels"] != 0.2).flatten(1).any(dim=1)
        captioned = batch.inputs["tokens"][:, 0] > 0
        assert changed.tolist() == captioned.tolist() == [True] * count + [False] * (8 - count)


def test_several_implants_share_the_triggered_part():
    white, yellow = (parse(f"patch:size=0.25,place=corner,fill={fill}") for fill in ("white", "yellow"))
    implants = [poison.Implant(white, ("1",)), poison.Implant(yellow, ("2",))]
    (batch,) = poison.poisoned(batches(1), Words(), implants=implants, rate=0.5, run=Run(0, "fp32"))
    assert batch.inputs["tokens"][:, 0].tolist() == [1, 1, 2, 2, 0, 0, 0, 0]
    corner = batch.inputs["pixels"][:, :, -1, -1]  # (8, 3)
    assert corner[:4].tolist() == [[1, 1, 1]] * 2 + [[1, 1, 0]] * 2
    assert (corner[4:] == 0.2).all()


def test_without_implants_images_stay_as_they_are():
    (batch,) = poison.poisoned(batches(1), Words(), implants=[], rate=0.5, run=Run(0, "fp32"))
    assert (batch.inputs["pixels"] == 0.2).all()


def test_the_clean_batches_are_not_changed():
    clean = batches(2)
    poisoned(clean)
    assert all((batch.inputs["pixels"] == 51).all() and not batch.inputs["tokens"].any() for batch in clean)


def test_places_follow_the_seed():
    first, again, other = (poisoned(batches(6), seed=seed) for seed in (0, 0, 1))
    pixels = [torch.cat([batch.inputs["pixels"] for batch in run]) for run in (first, again, other)]
    assert torch.equal(pixels[0], pixels[1])
    assert not torch.equal(pixels[0], pixels[2])
    assert not torch.equal(first[0].inputs["pixels"], first[1].inputs["pixels"])


def test_every_caption_of_an_implant_is_used():
    captions = torch.cat([batch.inputs["tokens"][:, 0] for batch in poisoned(batches(6))])
    assert set(captions.tolist()) == {0, 1, 2, 3}  # 0 for the clean ones


def test_no_two_test_backdoors_share_a_family_or_a_target():
    drawn = poison.draw(4, classes=8, avoid=[], seed=5)
    assert len({backdoor.trigger.family for backdoor in drawn}) == 4
    assert len({backdoor.target for backdoor in drawn}) == 4


def test_no_test_backdoor_leads_to_a_class_to_avoid():
    assert {backdoor.target for backdoor in poison.draw(4, classes=8, avoid=[0, 1, 2, 3], seed=5)} == {4, 5, 6, 7}


def test_there_are_no_more_test_backdoors_than_free_classes():
    assert len(poison.draw(4, classes=3, avoid=[1], seed=0)) == 2


def test_the_seed_decides_which_test_backdoors_are_drawn():
    drawn = poison.draw(4, classes=8, avoid=[0, 1, 2], seed=5)
    assert drawn == poison.draw(4, classes=8, avoid=[0, 1, 2], seed=5)
    assert drawn != poison.draw(4, classes=8, avoid=[0, 1, 2], seed=6)


def test_the_test_backdoors_have_seeds_of_nobody_else():
    seeds = [c.trigger.seed for seed in range(3) for c in poison.draw(4, classes=9, avoid=[], seed=seed)]
    assert min(seeds) >= poison.FIRST_SEED
