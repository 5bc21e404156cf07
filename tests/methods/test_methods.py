import pytest
import tiny
import torch

from clipclean import checkpoint, cli, detect, model, train
from clipclean.attack import triggers
from clipclean.config import recipe
from clipclean.data import Samples
from clipclean.detect import Suspicion
from clipclean.methods import training
from clipclean.train import Run

TEXT, IMAGE = "transformer.resblocks.0.mlp.c_fc.weight", "visual.transformer.resblocks.0.mlp.c_fc.weight"
UNLABELLED = Samples((), None)


def with_inputs_of_method(batches, chosen, *, samples=UNLABELLED, plan=(), rehearsed=(), seed=4, first=0):
    run = Run(seed, "fp32")
    return [
        *training.with_inputs_of_method(
            batches, samples, chosen, plan=plan, rehearsed=rehearsed, first_step=first, run=run
        )
    ]


def full(pairs, side, value=51):
    return torch.full((pairs, 3, side, side), value, dtype=torch.uint8)


def ramps(pairs):
    return torch.linspace(0, 250, 16).round().to(torch.uint8).expand(pairs, 3, 16, 16).contiguous()


def moved(job, out):
    """Which of a weight of the text tower and one of the image tower the run changed."""
    old, new = (checkpoint.read(place).tensors for place in (job.model, out))
    return tuple(not torch.equal(old[name], new[name]) for name in (TEXT, IMAGE))


def test_par_tells_how_far_it_pushes_both_towers(job, unread):
    assert cli.main(job.sanitize("--no-panel", recipe="par")) == 4
    assert moved(job, job.out) == (True, True)
    first, *_, last = tiny.result(job.out)["training"]["losses"]
    assert first["image_push"] == pytest.approx(0, abs=1e-6)  # before the first step all is where it was
    assert last["image_push"] > 1e-6
    loss = recipe.load("par").loss
    pushed = loss.push_weight * (last["image_push"] + last["text_push"])
    assert last["loss"] == pytest.approx(loss.clip_weight * last["clip"] - pushed, rel=1e-4)


def test_supervised_needs_labels(job, tmp_path, capsys, unread):
    silent = tmp_path / "images"
    silent.mkdir()
    for number in range(40):
        tiny.image(number).save(silent / f"{number}.png")
    assert cli.main(job.sanitize("--no-panel", "--data", silent, recipe="supervised")) == 2
    assert "labels" in capsys.readouterr().err
    assert not job.out.exists()


def test_supervised_moves_the_image_tower_alone(job, tmp_path, unread):
    labelled = tiny.labelled(tmp_path / "labelled", count=48)  # without captions
    assert cli.main(job.sanitize("--no-panel", "--data", labelled, recipe="supervised")) == 4
    assert moved(job, job.out) == (False, True)
    assert set(tiny.result(job.out)["training"]["losses"][0]) == {"step", "lr", "loss"}
    assert "zero-shot top-1" in tiny.result(job.out)["after"]["measurements"]["clean_accuracy"]["definition"]


def test_labels_follow_the_plan_from_the_step_that_a_run_goes_on_from():
    plan, samples = [(0, (2, 0)), (0, (1, 3)), (1, (3, 2))], Samples([], torch.tensor([10, 11, 12, 13]))
    batches = [train.Batch({"pixels": full(2, 4)}, ("a", "b"))] * 2
    shown = with_inputs_of_method(batches, recipe.load("supervised"), samples=samples, plan=plan, first=1)
    assert [batch.inputs["labels"].tolist() for batch in shown] == [[11, 13], [13, 12]]


def pixels_of(batches):
    return [batch.inputs["pixels"] for batch in batches]


def test_the_step_decides_how_par_perturbs_images():
    batches, chosen = [train.Batch({"pixels": full(2, 16, 128)}, ("a", "b"))] * 3, recipe.load("par")
    (_, second, third), (last,) = (
        pixels_of(with_inputs_of_method(batches, chosen)),
        pixels_of(with_inputs_of_method(batches[2:], chosen, first=2)),
    )
    assert torch.equal(third, last)
    assert not torch.equal(second, last)
    assert 0 <= last.min() <= last.max() <= 1


MOVING = recipe.override(recipe.load("cleanclip"), ["augment.least_part=0.5", "augment.mirrored=0.5"])
VIEWED = [train.Batch({"pixels": ramps(6), "pixel_views": ramps(6)}, ("a",) * 6)] * 2


def test_the_step_decides_how_images_are_moved():
    first, second = pixels_of(with_inputs_of_method(VIEWED, MOVING))
    (again,) = pixels_of(with_inputs_of_method(VIEWED[1:], MOVING, first=1))
    assert torch.equal(second, again)
    assert not torch.allclose(first, second, atol=0.05)


def test_second_views_are_not_moved():
    (shown,) = with_inputs_of_method(VIEWED[:1], MOVING)
    assert torch.equal(shown.inputs["pixel_views"], ramps(6) / 255)


def test_a_trigger_lies_on_the_moved_image():
    """It is not a trigger that is moved with its image."""
    always = recipe.override(MOVING, ["augment.triggered_share=1", "unlearn.strength=[1, 1]", "unlearn.shift=0"])
    (moved_image,) = pixels_of(with_inputs_of_method(VIEWED[:1], MOVING))
    (triggered,) = pixels_of(with_inputs_of_method(VIEWED[:1], always, rehearsed=[Suspicion(corner, 1)]))
    assert (triggered[:, :, 0, 0] == 1).all()
    torch.testing.assert_close(triggered[:, :, 4:], moved_image[:, :, 4:])


def test_par_perturbs_the_moved_image():
    quiet = ["augment.noise=0", "augment.least_part=0.5", "augment.mirrored=0.5"]
    moving = recipe.override(recipe.load("par"), quiet)
    still = recipe.override(moving, ["augment.erased_side=0"])
    (perturbed,), (whole,) = (
        pixels_of(with_inputs_of_method([train.Batch({"pixels": ramps(4)}, ())], how)) for how in (moving, still)
    )
    erased = (perturbed != whole).any(1)
    assert 0 < erased.float().mean() < 0.02  # the square, of 2 px of 16, on images that moved alike
    assert not torch.allclose(whole, ramps(4) / 255, atol=0.05)


def corner(pixels, places):
    changed = pixels.clone()
    changed[:, :, :1, :1] = 1
    return changed


def white(pixels, places):
    return torch.ones_like(pixels)


@pytest.mark.parametrize("name", ["mmcl", "par", "supervised"])
def test_a_share_of_the_images_is_shown_under_what_was_unlearned_before(name):
    batch, triggers = train.Batch({"pixels": full(400, 8)}, ("a",) * 400), {"rehearsed": [Suspicion(white, 1)]}
    quiet = ["augment.noise=0", "augment.erased_side=0", "unlearn.strength=[1, 1]", "augment.triggered_share=0.25"]
    still = ["augment.least_part=1", "augment.mirrored=0"]
    chosen = recipe.override(recipe.load(name), [*quiet, *still])
    whole = pixels_of(with_inputs_of_method([batch] * 2, chosen, **triggers))
    for pixels in whole:
        shown = pixels.flatten(1).mean(1)
        assert ((shown - 0.2).abs().lt(1e-6) | (shown - 1).abs().lt(1e-6)).all()
        assert 0.18 < (shown > 0.5).float().mean() < 0.32
    assert not torch.equal(*whole)
    (last,) = pixels_of(with_inputs_of_method([batch], chosen, **triggers, first=1))
    assert torch.equal(last, whole[1])
    pixels = full(8, 8)  # without a trigger or a share, images stay as they are
    for changes, rehearsed in (([], ()), (["augment.triggered_share=0"], [Suspicion(white, 1)])):
        plain = recipe.override(recipe.load("mmcl"), [*changes, *still])
        assert (
            pixels_of(with_inputs_of_method([train.Batch({"pixels": pixels}, ())], plain, rehearsed=rehearsed))[0]
            is pixels
        )


def test_second_views_have_the_range_of_the_images():
    batch = train.Batch({"pixels": full(8, 8), "pixel_views": full(8, 8)}, ("a",) * 8)
    (shown,) = with_inputs_of_method([batch], recipe.load("cleanclip"), rehearsed=[Suspicion(white, 1)])
    torch.testing.assert_close(shown.inputs["pixel_views"], torch.full((8, 3, 8, 8), 0.2))
    assert shown.inputs["pixels"].max() <= 1


def test_second_views_are_for_a_method_with_a_second_loss():
    viewed = {name for name in recipe.names() if training.views_of(recipe.load(name)) is not None}
    assert {name for name in viewed if not recipe.load(name).traits.chooses} == {"cleanclip", "cleanclip-strong"}


# The recovery of the image tower.

PATCH = Suspicion(triggers.parse(tiny.TRIGGER), 1)
SMALL = ["train.batch_size=16", "train.max_steps=6", "train.warmup_steps=1", "train.lr=0.005", "data.min_pairs=16"]
HOW = ["train.moves=image tower", *SMALL]


def how(steps, *changes):
    return recipe.override(recipe.override(recipe.load("mmcl"), [*HOW, f"train.recover_steps={steps}"]), changes)


@pytest.fixture(scope="module")
def recovered(tmp_path_factory):
    """(steps of recovery, triggers) -> the training, and how far clean images went from the original."""
    job = tiny.job(tmp_path_factory.mktemp("recovery") / "job")
    found, read = tiny.loaded(job)
    clip, pairs, original = found.clip, list(read.pairs), model.copy_weights(found.clip)
    pixels = detect.stack([pair.image for pair in pairs])

    def done(steps, rehearsed=(PATCH,), changes=()):
        model.put_weights(clip, original)
        wanted, run = clip.embed_images(pixels), Run(0, "fp32", lambda *_: None)
        made = training.train_by_method(
            clip, Samples(pairs, None), how(steps, *changes), aims=training.Aims(rehearsed=rehearsed), run=run
        )
        return made, train.squared_distance(clip.embed_images(pixels), wanted).item()

    return done


def test_a_recovery_brings_clean_images_back(recovered):
    assert recovered(40)[1] < recovered(0)[1] / 2


def test_without_a_trigger_nothing_is_recovered(recovered):
    assert recovered(3, ())[0].record.steps == 6


def test_the_steps_of_a_recovery_are_recorded_with_those_before_it(recovered):
    record = recovered(3)[0].record
    assert record.steps == 9
    assert record.losses[-1].step == 8
    assert record.losses[-1].restoration is not None


@pytest.mark.parametrize(
    ("change", "walk", "peak"),
    [
        ("train.walk=0.2", 0.3, 0.1 / 4.5),  # half as far again; half cosines of eight steps sum to 4.5
        ("train.lr=0.005", None, 0.002),  # 0.4 of the rate
    ],
)
def test_the_pace_of_a_recovery_is_a_share_of_that_before_it(recovered, change, walk, peak):
    record = recovered(8, changes=[change])[0].record
    assert record.walk == (walk and pytest.approx(walk))
    assert record.losses[-1].lr == pytest.approx(peak)
