"""Every method in two processes: the losses and weights of one process with the whole batch."""

import pytest
import tiny
import torch
from processes import ROOT, ended, started

from clipclean import checkpoint

# One process of a run, or the only one: a few steps of each method on a tiny model, which is written by each process.
PROCESS = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, "tests")
import tiny
from clipclean import checkpoint, data, detect, model
from clipclean.attack import poison, triggers
from clipclean.config import recipe as recipes
from clipclean.jobs import measured_images
from clipclean.methods import rounds, training, unlearning
from clipclean.detect import Suspicion
from clipclean.train import distributed
from clipclean.data import Samples
from clipclean.train.loader import batches
from clipclean.train import Run

out, folder = Path(sys.argv[1]), Path(sys.argv[2])
weights = tiny.state_dict(tiny.SMALL_VIT)
found = model.resolve(weights, arch=None, config=None, script_quick_gelu=None).with_activation(False, "test")
# The gradient of a key's bias is nothing but rounding; a small eps would turn its sign into a whole step.
CHANGES = ["train.batch_size=16", "train.max_steps=3", "train.warmup_steps=1", "train.eps=0.001", "data.min_pairs=16"]
white = triggers.parse("patch:size=0.25,place=random,seed=1")
kept, losses = {}, {}

def fresh():
    return model.build(found, tiny.state_dict(tiny.SMALL_VIT), device="cpu")

def chosen(name, *more):
    return recipes.override(recipes.load(name), [*CHANGES, *more])

def pairs_for(clip):
    return data.read(folder, images=measured_images.image_cache(recipes.load("cleanclip"), clip.architecture, views=True)).pairs

CLEANCLIP = ("cleanclip", "train.micro_batch=3", "train.grad_clip=1")
OTHERS = ("par",), ("supervised",), ("mmcl", "loss.preserve_weight=5", "augment.least_part=0.6", "augment.mirrored=0.5")
OTHERS = (*OTHERS, ("distill", "augment.mixed=0"))  # a mean with an image of another process is one with nothing

with distributed.joined("cpu") as group:
    clip = fresh()
    some = pairs_for(clip)
    labels = torch.arange(len(some)) % 12
    classifier = detect.classifier(clip.embed_texts, tiny.CLASSES, templates=tiny.TEMPLATES)
    run = Run(0, "fp32", lambda *_: None, None, group)
    for name, *more in (CLEANCLIP, *OTHERS):
        clip, how = fresh(), chosen(name, *more)
        aims = training.Aims(classifier, rehearsed=(Suspicion(white, 1),))
        trained = training.finetune(clip, Samples(some, labels), how, aims=aims, run=run)
        kept |= {f"{name}.{key}": values for key, values in clip.net.state_dict().items()}
        losses |= {f"losses.{name}": torch.tensor([each.loss for each in trained.record.losses])}
    weights = tiny.state_dict(tiny.TINY_RESNET)
    resnet = model.resolve(weights, arch=None, config=None, script_quick_gelu=None).with_activation(False, "test")
    clip, how = model.build(resnet, weights, device="cpu"), chosen(*CLEANCLIP)
    training.finetune(clip, Samples(pairs_for(clip), labels), how, aims=training.Aims(classifier), run=run)
    kept |= {f"resnet.{key}": values for key, values in clip.net.state_dict().items()}
    clip, original, how = fresh(), fresh(), chosen("unlearn")
    how = recipes.override(how, ["unlearn.steps=3"])
    plan = data.plan(len(some), batch_size=16, steps=3, seed=0)
    fed = batches(plan, pairs=some, clip=clip, run=run, threads=1)
    told = rounds.forget(
        clip, rounds.Teachers(original), fed, {"newest": [Suspicion(white, 1)], "earlier": [Suspicion(white, 1)]}, rounds.RoundSettings.of(how),
        generator=torch.Generator().manual_seed(0), run=run,
    )
    losses["losses.unlearn"] = torch.tensor(list(told.values()))
    kept |= {f"unlearn.{key}": values for key, values in clip.net.state_dict().items()}
    clip = fresh()
    planting = recipes.planting(rate=0.25, steps=3, batch_size=16, walk=0.1, warmup_steps=1)
    implants = [poison.Implant(white, ("a dog",)), poison.Implant(white, ("a cat", "cats"))]
    poison.finetune(clip, some, how, planting, implants=implants, run=run)
    kept |= {f"planted.{key}": values for key, values in clip.net.state_dict().items()}
checkpoint.write_safetensors(out / f"{group.rank}.safetensors", kept | losses, metadata={})
"""


@pytest.mark.slow
def test_two_processes_equal_one_with_the_whole_batch(tmp_path):
    folder = tiny.pairs(tmp_path / "pairs")
    found = {}
    for size in (1, 2):
        out = tmp_path / str(size)
        out.mkdir()
        for code, words in ended(started(PROCESS, out, folder, size=size, cwd=ROOT)):
            assert code == 0, words
        found[size] = [checkpoint.read(out / f"{rank}.safetensors").tensors for rank in range(size)]
    (alone,), (first, second) = found[1], found[2]
    assert all(torch.equal(values, second[name]) for name, values in first.items())
    for name, values in alone.items():
        if name.startswith("resnet."):
            continue  # one process normalises by the whole batch
        torch.testing.assert_close(first[name], values, atol=1e-5, rtol=0, msg=name)
    start = tiny.state_dict(tiny.SMALL_VIT)
    for method in ("cleanclip", "par", "supervised", "mmcl", "distill", "unlearn", "planted"):
        moved = max(float((alone[f"{method}.{name}"] - values).abs().max()) for name, values in start.items())
        assert moved > 1e-4, method  # the equality above is not that of weights that stood still
