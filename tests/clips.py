"""Tiny models as they are built from checkpoints, and what a check of an export asks of them."""

import tiny
import torch

from clipclean import model
from clipclean.export import parity

CAPTIONS = ["a red square", "two dogs", "", "a dog’s “ball”", "naïve café"]


def build(config=tiny.SMALL_VIT, *, quick_gelu=True):
    weights = tiny.state_dict(config)
    found = model.resolve(weights, arch=None, config=None, script_quick_gelu=None).with_activation(quick_gelu, "test")
    return model.build(found, weights, device="cpu")


def samples(clip, images=5, captions=CAPTIONS):
    side = clip.architecture.preprocess.size
    pixels = torch.rand(images, 3, side, side, generator=torch.Generator().manual_seed(0))
    tokens = clip.tokens(captions)
    embedded = clip.embed_images(pixels), clip.embed_tokens(tokens)
    return parity.ParitySamples(clip.normalise(pixels), tokens, *embedded, captions)


def moved(clip, *, by):
    """A copy whose matrices and kernels moved by a share of their deviations, as a finetune leaves them."""
    copy, draws = model.frozen_copy(clip), torch.Generator().manual_seed(0)
    for name, parameter in copy.net.named_parameters():
        if parameter.ndim >= 2 and "embedding" not in name:
            parameter.data.add_(by * parameter.data.std() * torch.randn(parameter.shape, generator=draws))
    return copy


def unlike(clip):
    """Make GELU and QuickGELU give very different embeddings."""
    state = clip.net.state_dict()
    state["visual.transformer.resblocks.0.mlp.c_fc.bias"].sub_(2)  # where the two differ most
    state["visual.transformer.resblocks.0.mlp.c_proj.weight"].mul_(10)
    return clip
