import copy

import pytest
import tiny
import torch
from clips import build
from torch import nn

from clipclean import model, train
from clipclean.config import recipe
from clipclean.methods import losses
from clipclean.train import memory
from clipclean.train.loop import in_precision


def clip_of(config):
    return build(config, quick_gelu=False)


def batch(clip, *, pairs=6):
    draw = torch.Generator().manual_seed(1)
    side = clip.architecture.preprocess.size
    pixels, views = (torch.rand(pairs, 3, side, side, generator=draw) for _ in range(2))
    words = ["cat", "two dogs", "a red car", "one", "the old house by", "sea"][:pairs]
    tokens = clip.tokens(words)
    inputs = {"pixels": pixels, "pixel_views": views, "tokens": tokens, "token_views": tokens.flip(0)}
    return train.Batch(inputs, tuple(words))


def loss_of(clip, micro):
    towers = micro.over(clip.encode_images), micro.over(clip.encode_tokens)
    return losses.cleanclip(losses.LossInputs(*towers, clip.logit_scale, losses.LossWeights()))


def gradients(clip, size, *, pairs=6):
    clip.net.train().zero_grad()
    parts = loss_of(clip, memory.MicroBatches(clip.net, size=size, pairs=pairs))(batch(clip, pairs=pairs))
    parts["loss"].backward()
    return parts["loss"].detach(), {name: p.grad.clone() for name, p in clip.net.named_parameters()}


@pytest.mark.parametrize("size", [1, 4, 5])  # 4 and 5 leave an incomplete last part
def test_a_few_pairs_at_a_time_give_the_gradients_of_the_whole_batch(size):
    clip = clip_of(tiny.TINY_VIT)
    loss, expected = gradients(clip, None)
    found_loss, found = gradients(clip, size)
    torch.testing.assert_close(found_loss, loss, atol=1e-6, rtol=0)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-5, msg=name)


def statistics(net):
    return {name: b.clone() for name, b in net.named_buffers() if "running" in name or "tracked" in name}


def test_running_statistics_count_each_sample_once():
    """Only the forward passes over the two parts count: one batch each, not two."""
    clip = clip_of(tiny.TINY_RESNET)
    other = model.Clip(copy.deepcopy(clip.net), clip.architecture, clip.device)
    gradients(clip, 3)
    other.net.train()
    pixels = torch.stack([batch(clip).inputs[name] for name in ("pixels", "pixel_views")])  # (2, 6, ...)
    for part in torch.split(pixels, 3, dim=1):
        other.encode_images(part.flatten(0, 1))
    found, expected = statistics(clip.net), statistics(other.net)
    assert found["visual.bn1.num_batches_tracked"] == 2
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, msg=name)


@pytest.mark.parametrize("config", [tiny.TINY_VIT, tiny.TINY_RESNET], ids=["ViT", "ResNet"])
def test_blocks_that_compute_again_change_no_bit(config):
    clip = clip_of(config)
    other = model.Clip(copy.deepcopy(clip.net), clip.architecture, clip.device)
    loss, expected = gradients(clip, None)
    with memory.recomputing(other.net, other.blocks(), is_on=True):
        found_loss, found = gradients(other, None)
    assert torch.equal(loss, found_loss)
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())
    ours, theirs = statistics(clip.net), statistics(other.net)
    assert all(torch.equal(values, theirs[name]) for name, values in ours.items())


def kept(clip, *, size, again, pairs=6):
    """Bytes that the backward pass needs, counted when they are put away."""
    held = {}

    def note(tensor):
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    clip.net.train().zero_grad()
    weights = {p.untyped_storage().data_ptr() for p in clip.net.parameters()}
    micro = memory.MicroBatches(clip.net, size=size, pairs=pairs)
    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        memory.recomputing(clip.net, clip.blocks(), is_on=again),
    ):
        loss_of(clip, micro)(batch(clip, pairs=pairs))
    return sum(size for place, size in held.items() if place not in weights)


def test_both_ways_keep_less_for_the_backward_pass():
    clip = clip_of(tiny.TINY_VIT)
    all_of_it = kept(clip, size=None, again=False)
    assert kept(clip, size=None, again=True) < 0.6 * all_of_it
    assert kept(clip, size=2, again=False) < 0.2 * all_of_it
    assert kept(clip, size=None, again=False) == all_of_it  # nothing is computed again once the span is over


def test_halving_ends_at_one_pair():
    micro = memory.MicroBatches(nn.Identity(), size=None, pairs=6)
    assert [(micro.shrink(), micro.size) for _ in range(3)] == [(True, 3), (True, 1), (False, 1)]
    assert micro.shrunk == 2


def test_a_gradient_in_bf16_is_nearly_that_in_fp32():
    clip = clip_of(tiny.TINY_VIT)
    loss, expected = gradients(clip, None)
    clip.net.zero_grad()
    whole = memory.MicroBatches(clip.net, size=None, pairs=6)
    lower = in_precision(loss_of(clip, whole), "bf16", clip.device)(batch(clip))["loss"]
    lower.backward()
    gradient = torch.cat([p.grad.flatten() for p in clip.net.parameters()])
    cosine = torch.cosine_similarity(gradient, torch.cat([g.flatten() for g in expected.values()]), dim=0)
    assert lower.item() != loss.item()  # it was another format
    assert lower.item() == pytest.approx(loss.item(), rel=0.01)
    assert cosine > 0.99


@pytest.mark.parametrize(("config", "size", "lean"), [(tiny.TINY_RESNET, None, True), (tiny.TINY_VIT, 2, False)])
def test_preservation_in_evaluation_mode_has_the_same_gradients_in_less_memory(config, size, lean):
    """A tower is in training mode when its gradients are taken, and the statistics of a ResNet are not those of the batch."""
    found = []
    for micro_size, recomputes in ((None, False), (size, lean)):
        clip, sizes = clip_of(config), []
        clip.net.train()
        micro = memory.MicroBatches(clip.net, size=micro_size, pairs=6)
        changes = ["loss.clip_weight=0.000001", "loss.self_supervised_weight=0", "loss.preserve_weight=5"]
        chosen = recipe.override(recipe.load("mmcl"), changes)
        loss = losses.objective(clip, chosen.method, chosen.loss, text_classifier=None, micro=micro)
        clip.net.visual.register_forward_pre_hook(lambda _, given, sizes=sizes: sizes.append(len(given[0])))
        with torch.no_grad():
            clip.net.visual.conv1.weight.mul_(1.5)  # or nothing would have moved
        with train.recomputing(clip.net, clip.blocks(), is_on=recomputes):
            parts = loss(batch(clip))
            parts["loss"].backward()
        assert set(sizes) == {micro_size or 6}
        found.append((parts["preservation"].detach(), clip.net.visual.conv1.weight.grad.clone()))
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-3)


def test_patches_are_never_dropped():
    config = tiny.TINY_VIT | {"vision_cfg": tiny.TINY_VIT["vision_cfg"] | {"patch_dropout": 0.5}}
    clip = clip_of(config)
    clip.net.train()
    pixels = batch(clip).inputs["pixels"]
    assert torch.equal(clip.encode_images(pixels), clip.encode_images(pixels))
