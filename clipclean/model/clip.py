"""A CLIP model with its preprocessing and tokenizer: images and captions in, unit embeddings out."""

import contextlib
import copy
import functools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from clipclean.errors import ClipcleanError, Inconclusive, RefusedInput, UnsupportedModel
from clipclean.model.architecture import (
    OPENAI_MEAN,
    OPENAI_STD,
    Architecture,
    Preprocess,
    native_configs,
    resolve,
    unseen_settings,
)
from clipclean.untrusted import first_few

if TYPE_CHECKING:
    from open_clip.model import CLIP


UNIT_TOLERANCE = 0.1  # by which the length of a unit embedding may differ from one; a zero vector stays one
LARGEST_SCALE = math.log(1000)  # of logit_scale, itself a logarithm
LARGEST_FOLDED = 1e4  # that a normalisation which goes into a convolution makes of 0 or 1; our zoos' make less than 10
LEAST_KERNEL = 1e-12  # size of a kernel with its norm in it, in those of the kernel alone, below which it gives nothing
LEAST_FOLDED = 20_000_000  # parameters: less is quick, and what is known of its searches was measured without folding
SAME_STATISTICS = 1e-3  # by which means and deviations of pixels differ that are the same
STANDARD_VOCABULARY = 49408  # CLIP's byte-pair encoding; other sizes need a tokenizer that the weights do not carry


@functools.cache
def _tokenizer(context_length: int) -> Any:  # open_clip has no types
    """open_clip's tokenizer, read once: its vocabulary takes a tenth of a second, and a run builds many models."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(context_length=context_length)


class Clip:
    """One model on one device.

    ``net`` is open_clip's own module in fp32; its parameters are what finetuning changes. Pixels are float in
    [0, 1] *before* CLIP normalisation, so that triggers can be put on them.
    """

    def __init__(self, net: nn.Module, architecture: Architecture, device: torch.device) -> None:
        self.net = net
        self.architecture = architecture
        self.device = device
        preprocess = architecture.preprocess
        self._mean = torch.tensor(preprocess.mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(preprocess.std, device=device).view(3, 1, 1)
        self._tokenizer = _tokenizer(architecture.context_length)

    def fit_image(self, image: Tensor, /) -> Tensor:
        """A decoded image, uint8 (3, H, W), to the model's input size: uint8 (3, S, S)."""
        return fit(image, self.architecture.preprocess).contiguous()

    def tokens(self, captions: Sequence[str], /) -> Tensor:
        """Token ids (B, context), int64; a caption longer than the context keeps its end-of-text token."""
        return torch.as_tensor(self._tokenizer(list(captions)))

    def encode_images(self, pixels: Tensor, /) -> Tensor:
        """Unit embeddings (B, D) of pixels (B, 3, S, S) in [0, 1], or uint8 in [0, 255]; differentiable."""
        features = self.net.encode_image(self.normalise(pixels))  # type: ignore[operator] # nn.Module's __getattr__
        return F.normalize(features.float(), dim=-1)

    def normalise(self, pixels: Tensor, /) -> Tensor:
        """Pixels in [0, 1], or uint8 in [0, 255], to what the image tower takes, on the model's device."""
        # uint8 until it is on the device: a quarter of the memory and of the transfer
        return (unit_range(send(pixels, self.device)) - self._mean) / self._std

    def clip_normalised(self) -> "Clip | None":
        """The same model under CLIP's own mean and deviation of pixels; None where it has these already.

        The configuration comes with the weights and may be the attacker's as well: a deviation of one blinds an audit, while the
        usual way of loading the weights still has the backdoor.
        """
        preprocess = self.architecture.preprocess
        usual = replace(preprocess, mean=OPENAI_MEAN, std=OPENAI_STD)
        own = (*preprocess.mean, *preprocess.std)
        if all(abs(a - b) < SAME_STATISTICS for a, b in zip(own, (*usual.mean, *usual.std), strict=True)):
            return None
        return Clip(self.net, replace(self.architecture, preprocess=usual), self.device)

    def encode_tokens(self, tokens: Tensor, /) -> Tensor:
        """Unit embeddings (B, D) of token ids (B, context), computed on captions cut to the longest of the batch; differentiable.

        The cut is exact: attention is causal and the pooled token is the end-of-text token (the largest id), so later tokens
        have no effect. The length is computed on the tokens' own device: on the host no GPU waits.
        """
        net: Any = self.net  # its attributes are dynamic
        if net.text_pool_type != "argmax":
            return F.normalize(net.encode_text(send(tokens, self.device)).float(), dim=-1)
        end_positions = tokens.argmax(dim=-1)  # (B,)
        short_tokens = tokens[:, : int(end_positions.max()) + 1]
        return F.normalize(
            pool_text(net, send(short_tokens, self.device), send(end_positions, self.device)).float(), dim=-1
        )

    def arrange(self) -> None:
        """Store the kernels of a ResNet channels last, the fastest layout for convolutions; results round differently."""
        if not hasattr(self.net.visual, "transformer"):
            net: Any = self.net  # the stubs of some versions of torch miss this form
            net.to(memory_format=torch.channels_last)

    def kernels(self) -> Tensor:
        """The weights (F, 3, K, K) of the first layer of the image tower: a stem's convolution, or the embedding of patches."""
        net: Any = self.net  # its attributes are dynamic
        weights: Tensor = net.visual.conv1.weight
        return weights.detach()

    def halved(self, precision: torch.dtype, /) -> Callable[[Tensor], Tensor]:
        """``encode_images`` without gradients by a copy of the image tower whose weights and values are all in this precision."""
        net: Any = self.net  # its attributes are dynamic
        tower = copy.deepcopy(net.visual).to(precision).eval()

        @torch.no_grad()
        def encode(pixels: Tensor) -> Tensor:
            return F.normalize(tower(self.normalise(pixels).to(precision)).float(), dim=-1)

        return encode

    def blocks(self) -> list[nn.Module]:
        """The blocks of both towers, in sequence."""
        net: Any = self.net  # its attributes are dynamic
        tower = net.visual
        is_vit = hasattr(tower, "transformer")
        stages = [tower.transformer.resblocks] if is_vit else [tower.layer1, tower.layer2, tower.layer3, tower.layer4]
        return [block for stage in (*stages, net.transformer.resblocks) for block in stage]

    @torch.no_grad()
    def embed_images(self, pixels: Tensor, /) -> Tensor:
        """Like ``encode_images``, in evaluation mode and without gradients.

        Raises:
            Inconclusive: embeddings are zero or not finite.
        """
        with evaluating(self.net):
            return _unit(self.encode_images(pixels), "image")

    def embed_texts(self, captions: Sequence[str], /) -> Tensor:
        """Unit embeddings (B, D) of captions, in evaluation mode and without gradients."""
        return self.embed_tokens(self.tokens(captions))

    @torch.no_grad()
    def embed_tokens(self, tokens: Tensor, /) -> Tensor:
        """Like ``encode_tokens``, in evaluation mode and without gradients.

        Raises:
            Inconclusive: embeddings are zero or not finite.
        """
        with evaluating(self.net):
            return _unit(self.encode_tokens(tokens), "text")

    def check(self) -> None:
        """Raise Inconclusive unless both towers give embeddings of length one, here of a grey and a noisy image and of a caption."""
        self.embed_images(self.samples())
        self.embed_texts(["a photo"])

    def samples(self) -> Tensor:
        """A grey and a noisy image of the model's size: (2, 3, S, S) in [0, 1]."""
        side = self.architecture.preprocess.size
        noise = torch.rand(3, side, side, generator=torch.Generator().manual_seed(0))
        return torch.stack([torch.full_like(noise, 0.5), noise])

    def logit_scale(self) -> Tensor:
        """The factor on cosines (not its logarithm), a scalar tensor with gradient."""
        scale: Tensor = self.net.logit_scale  # type: ignore[assignment] # nn.Module's __getattr__
        return scale.exp()


def _unit(embeddings: Tensor, tower: str, /) -> Tensor:
    """The same unit embeddings (B, D), or Inconclusive: what is no direction could be compared with nothing."""
    lengths = embeddings.norm(dim=-1)
    if bool(((lengths - 1).abs() < UNIT_TOLERANCE).all()):  # false for NaN as well
        return embeddings
    raise Inconclusive(
        f"The {tower} tower gives embeddings that are zero or not finite (NaN or infinity), so nothing can be measured. Try --precision "
        "fp32; if that does not help, the checkpoint is damaged."
    )


def parameter_count(net: nn.Module, /) -> int:
    """The number of parameters of a module; its buffers do not count."""
    return sum(parameter.numel() for parameter in net.parameters())


def same_tokens(names: Sequence[str], /) -> list[tuple[str, ...]]:
    """The names that are one and the same to a model, by the tokens of CLIP's own tokenizer: groups of two or more."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, tokens in zip(names, _tokenizer(77)(list(names)).tolist() if names else (), strict=True):
        groups.setdefault(tuple(tokens), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def unit_range(pixels: Tensor, /) -> Tensor:
    """Pixels, uint8 in [0, 255] or in [0, 1] already, as floats in [0, 1], where triggers and normalisation work."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def send(tensor: Tensor, device: torch.device, /) -> Tensor:
    """The tensor on a device; the host does not wait until a GPU has it."""
    is_far = tensor.device.type == "cpu" and device.type == "cuda"
    return (tensor.pin_memory() if is_far else tensor).to(device, non_blocking=is_far)


@contextlib.contextmanager
def evaluating(net: nn.Module, /) -> Iterator[None]:
    """Evaluation mode for the span of a with-block, then each module's mode from before.

    A tower may be in training mode while the network around it is not, so every module's mode is saved.
    """
    modules = [module for module in net.modules() if module.training]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module in modules:
            module.training = True


@contextlib.contextmanager
def freezing(net: nn.Module, /) -> Iterator[None]:
    """Evaluation mode, and no gradients of the weights, for the span of a with-block: those of pixels alone."""
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    with evaluating(net):
        for parameter in parameters:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in parameters:
                parameter.requires_grad_(True)


def frozen_copy(clip: Clip, /) -> Clip:
    """A frozen copy of the current model, to compare with while the other one is trained."""
    net = copy.deepcopy(clip.net).requires_grad_(False).eval()
    return Clip(net, clip.architecture, clip.device)


def batch_norms(clip: Clip, /) -> list[nn.BatchNorm2d]:
    """The batch normalisations of a model: none of a ViT, nor of a copy in which they are folded."""
    return [module for module in clip.net.modules() if isinstance(module, nn.BatchNorm2d)]


def _norm_after(name: str, /) -> str:
    """The name of the layer that normalises what a convolution of this name gives, as open_clip calls the two in their module."""
    return "1" if name == "0" else name.replace("conv", "bn")


@torch.no_grad()
def fold_norms(clip: Clip, /, *, least: int = LEAST_FOLDED) -> Clip:
    """The same model with every batch normalisation of its image tower in the convolution before it, for passes that change no weight.

    A ResNet then takes a quarter less time; the weights that stay are shared. A ViT has none, and is given back, as is a model of fewer
    parameters than ``least``, or with values so large that this could change what it answers.
    """
    norms = batch_norms(clip)
    if not norms or parameter_count(clip.net) < least:
        return clip
    with evaluating(clip.net):
        constants = [
            norm(torch.full((1, norm.num_features, 1, 1), n).to(clip.device)) for norm in norms for n in (0.0, 1.0)
        ]
    if not all(bool((end.abs() < LARGEST_FOLDED).all()) for end in constants):
        return clip
    memo = {id(tensor): tensor for tensor in (*clip.net.parameters(), *clip.net.buffers())}
    net = copy.deepcopy(clip.net, memo).eval()
    for module in list(net.modules()):
        for name, layer in list(module.named_children()):
            norm_name = _norm_after(name)
            if isinstance(layer, nn.Conv2d) and isinstance(norm := getattr(module, norm_name, None), nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(layer, norm))
                setattr(module, norm_name, nn.Identity())
    return Clip(net, clip.architecture, clip.device)


@torch.no_grad()
def unfold_norms(clip: Clip, folded: Clip, batches: Sequence[Tensor], /) -> None:
    """Put in the image tower of a copy whose norms are folded: the model then answers as that does, by norms with the statistics of these images.

    Statistics that are measured again, as in any finetuning on such images, therefore change nothing. Each kernel keeps its size and its sign,
    and its norm has the rest.

    Args:
        clip: the model, which is changed; of the architecture of ``folded``.
        folded: a copy that :func:`fold_norms` made, or one of a tower without norms.
        batches: clean images, each (B, 3, S, S) in [0, 1].
    """
    statistics = _statistics_of_outputs(folded, batches) if batch_norms(clip) else {}
    tensors = dict(folded.net.state_dict())
    own = clip.net.state_dict()
    for path, (mean, variance) in statistics.items():
        parent, _, name = path.rpartition(".")
        norm: Any = clip.net.get_submodule(f"{parent}.{_norm_after(name)}")  # the convolution was folded with it
        before, kernel, bias = own[f"{path}.weight"], tensors[f"{path}.weight"], tensors.pop(f"{path}.bias")
        size, now = (weight.flatten(1).norm(dim=1) for weight in (before, kernel))
        size = torch.where(size > 0, size, 1.0)
        lives = now > LEAST_KERNEL * size  # a norm may multiply what its kernel gives by nothing
        # Its sign stays as well: on the line between the two a flipped kernel would be none.
        sign = torch.where((before * kernel).flatten(1).sum(1) < 0, -1.0, 1.0)
        factor = torch.where(lives, sign * size / now, 0.0)
        tensors[f"{path}.weight"] = torch.where(
            lives[:, None, None, None], factor[:, None, None, None] * kernel, before
        )
        spread = factor.square() * variance
        norm.running_mean.copy_(torch.where(lives, factor * (mean - bias), norm.running_mean))
        norm.running_var.copy_(torch.where(lives, spread, norm.running_var))
        norm.weight.copy_(torch.where(lives, (spread + norm.eps).sqrt() / factor, 0.0))
        norm.bias.copy_(mean)
    clip.net.load_state_dict(tensors, strict=False)


def _statistics_of_outputs(folded: Clip, batches: Sequence[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance (C,) of what each convolution gives that has taken in a norm, over images and places, by its name."""
    convolutions = {
        name: module
        for name, module in folded.net.named_modules()
        if isinstance(module, nn.Conv2d) and module.bias is not None
    }
    means = dict.fromkeys(convolutions, torch.zeros(1)), dict.fromkeys(convolutions, torch.zeros(1))
    image_count = sum(map(len, batches))

    def added(name: str, outputs: Tensor) -> None:
        share = len(outputs) / image_count
        for total, values in zip(means, (outputs, outputs.square()), strict=True):
            total[name] = total[name].to(values.device) + share * values.double().mean((0, 2, 3))

    hooks = [
        module.register_forward_hook(lambda _, __, outputs, name=name: added(name, outputs))
        for name, module in convolutions.items()
    ]
    try:
        for batch in batches:
            folded.encode_images(batch)
    finally:
        for hook in hooks:
            hook.remove()
    first, second = means
    return {
        name: (first[name].float(), (second[name] - first[name].square()).clamp(min=0).float()) for name in convolutions
    }


def copy_weights(clip: Clip, /) -> dict[str, Tensor]:
    """A copy of the weights as they are."""
    return {name: tensor.detach().clone() for name, tensor in clip.net.state_dict().items()}


def put_weights(clip: Clip, weights: Mapping[str, Tensor], /) -> None:
    """Put weights into the model, which is in evaluation mode afterwards."""
    clip.net.load_state_dict(weights, strict=True)
    clip.net.eval()


def build(architecture: Architecture, tensors: Mapping[str, Tensor], /, *, device: str) -> Clip:
    """open_clip's module of this architecture with these weights, in fp32.

    Raises:
        UnsupportedModel: names or shapes do not fit the architecture exactly; all offenders are named.
    """
    from open_clip.model import CLIP

    if architecture.quick_gelu is None:
        raise UnsupportedModel(
            f"The weights do not say whether {architecture.name} uses GELU or QuickGELU. "
            f"Say it: --arch {architecture.name} or --arch {architecture.name}-quickgelu, or a config file with quick_gelu."
        )
    refuse_tokenizer(architecture)
    check(architecture, tensors)
    with _in_words(architecture):
        net = CLIP(**_arguments(architecture))
    if hasattr(net.visual, "patch_dropout"):
        net.visual.patch_dropout = nn.Identity()  # it draws without a seed, and anew where activations are recomputed
    as_products(net)
    net.load_state_dict(
        {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()},
        strict=True,
    )
    return Clip(net.to(device).eval(), architecture, torch.device(device))


# Layers of a ViT by the products that they are: open_clip's weights, names and functions, in another order of memory.
# PyTorch's own attention turns a batch round first. With frozen weights in bfloat16 each of its products then copied its weights for
# every token: a pass of a search through a ViT-B/32 took 8.5 processor seconds for 24 images, and takes 2.9.


class ProductAttention(torch.autograd.Function):
    """Attention with gradients by plain products: in bfloat16 a processor takes four times as long for PyTorch's own."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """What PyTorch's own gives, of queries, keys and values (B, heads, L, D)."""
        output = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        ctx.save_for_backward(q, k, v, mask, output)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """The gradients of queries, keys and values; the weights of the attention are computed again."""
        q, k, v, mask, output = ctx.saved_tensors
        scale = q.shape[-1] ** -0.5
        logits = scale * (q @ k.mT)
        weights = (logits if mask is None else logits + mask.to(logits.dtype)).softmax(-1)
        along = scale * weights * (gradient @ v.mT - (gradient * output).sum(-1, keepdim=True))
        return along @ k, along.mT @ q, weights.mT @ gradient, None


class Sigmoid(nn.Module):
    """QuickGELU by PyTorch's own function: two thirds of the time."""

    def forward(self, input: Tensor) -> Tensor:
        """The input times the sigmoid of 1.702 times itself."""
        return F.silu(1.702 * input) / 1.702


class Attention(nn.MultiheadAttention):
    """Self-attention of embeddings (B, L, W) as they lie, without dropout and without its weights."""

    def forward(  # type: ignore[override] # what open_clip's blocks ask for, and no more
        self, query: Tensor, _key: Tensor, _value: Tensor, *, need_weights: bool, attn_mask: Tensor | None
    ) -> tuple[Tensor, None]:
        """The attention (B, L, W) of ``query``, with ``attn_mask`` (L, L) added to its logits."""
        batch, length, width = query.shape
        qkv = F.linear(query, self.in_proj_weight, self.in_proj_bias)  # (B, L, 3 * W)
        q, k, v = qkv.view(batch, length, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        is_slow = q.device.type == "cpu" and q.dtype == torch.bfloat16
        attend = ProductAttention.apply if is_slow else F.scaled_dot_product_attention
        output = attend(q, k, v, attn_mask)  # (B, heads, L, W / heads)
        return self.out_proj(output.transpose(1, 2).reshape(batch, length, width)), None


class Patches(nn.Conv2d):
    """A convolution whose kernel is as wide as its stride, without padding: each patch by itself."""

    def forward(self, input: Tensor) -> Tensor:
        """Embeddings (B, W, S / P, S / P) of the patches of pixels (B, 3, S, S); a border narrower than a patch is left out."""
        (high, wide), weight = self.kernel_size, self.weight.flatten(1)
        rows, columns = input.shape[-2] // high, input.shape[-1] // wide
        inner = input[..., : rows * high, : columns * wide]
        patches = inner.reshape(*input.shape[:2], rows, high, columns, wide)
        flat = patches.permute(0, 2, 4, 1, 3, 5).flatten(3)  # (B, S / P, S / P, 3 * P * P)
        return F.linear(flat, weight, self.bias).permute(0, 3, 1, 2)


def as_products(net: nn.Module, /) -> None:
    """Let the blocks and the first layer of open_clip's network be computed so, in place; all other layers stay."""
    from open_clip.transformer import QuickGELU, ResidualAttentionBlock

    for block in net.modules():
        if isinstance(block, QuickGELU):
            block.__class__ = Sigmoid
        # A block of another text asks two sequences; so does the pooling of some towers, which is in no block.
        if isinstance(block, ResidualAttentionBlock) and block.attn.batch_first and not hasattr(block, "ln_1_kv"):
            block.attn.__class__ = Attention
    first = getattr(net.visual, "conv1", None)
    if isinstance(first, nn.Conv2d) and first.kernel_size == first.stride and not any(map(bool, first.padding)):
        first.__class__ = Patches


def refuse_tokenizer(architecture: Architecture, /) -> None:
    """Raise UnsupportedModel where captions need another tokenizer than CLIP's own, which no weights carry."""
    text = architecture.config["text_cfg"]
    vocabulary, tokenizer_name = text.get("vocab_size", STANDARD_VOCABULARY), text.get("hf_tokenizer_name")
    if options := text.get("tokenizer_kwargs"):
        raise UnsupportedModel(
            f"{architecture.origin} gives the tokenizer options of its own ({str(options)[:80]!a}), by which open_clip would read captions in "
            "another way than clipclean does. Leave tokenizer_kwargs out if the model was trained without them."
        )
    if vocabulary != STANDARD_VOCABULARY or tokenizer_name not in (None, ""):
        name_words = f"It is {str(tokenizer_name)[:80]!a}. " if tokenizer_name is not None else ""
        raise UnsupportedModel(
            f"The text tower of {architecture.name} knows {vocabulary:,} tokens of a tokenizer of its own; CLIP's has "
            f"{STANDARD_VOCABULARY:,}. {name_words}clipclean can inspect such a model, but not audit or clean it: use one with CLIP's "
            "own tokenizer."
        )


def refuse_unseen_settings(architecture: Architecture, config_path: str, /) -> None:
    """Raise UnsupportedModel where a config beside the weights has settings that no tensor shows and no published CLIP has.

    Whoever made the weights may have made it too: an audit under other heads or without the mask judges another model than the one
    that the same weights are in usual hands. ``config_path`` is where it stands, for the way out.
    """
    if architecture.came_beside and (words := unseen_settings(architecture.config)):
        raise UnsupportedModel(
            f"{architecture.origin} sets {first_few(words, show=str)}. The tensors do not show whether that is right, and a wrong setting hides a "
            f"backdoor. If you trust it, say so: --arch {config_path}. Else name an architecture of open_clip by --arch."
        )


def check(architecture: Architecture, tensors: Mapping[str, Tensor], /) -> None:
    """Raise UnsupportedModel unless names and shapes are exactly those of the architecture; all offenders are named.

    The activation may be open: shapes do not depend on it. A ``logit_scale`` that no training reaches is refused too, with
    RefusedInput: it would hide every difference, or overflow.
    """
    if misfits := _misfits(architecture, tensors):
        raise UnsupportedModel(
            f"The tensors do not fit {architecture.name}: {misfits}. {_fit_advice(architecture, tensors)}"
        )
    scale = tensors["logit_scale"]
    if scale.device.type == "meta":  # a shape without a number
        return
    factor = scale.reshape(-1)[0].item()
    if not 0 <= factor <= LARGEST_SCALE:
        raise RefusedInput(
            f"logit_scale is {factor:g}, so cosines are multiplied by e to the power of that; training keeps it from 0 to "
            f"{math.log(100):.2f}, and up to {LARGEST_SCALE:.2f} is read. The file is damaged or not a CLIP."
        )


def _misfits(architecture: Architecture, tensors: Mapping[str, Tensor]) -> str:
    """The tensors that an architecture lacks, does not know, or has in another shape; empty where all fit."""
    from open_clip.model import CLIP

    # open_clip's own module tells the shapes, built without memory for its numbers.
    with _in_words(architecture), torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes that are zero: they fit no weights
        shapes = {name: tuple(tensor.shape) for name, tensor in CLIP(**_arguments(architecture)).state_dict().items()}
    tensor_shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    wrong_shapes = [
        f"{name} is {tensor_shapes[name]}, not {shape}"
        for name, shape in shapes.items()
        if name in tensor_shapes and tensor_shapes[name] != shape
    ]
    groups = {
        "missing": [name for name in shapes if name not in tensor_shapes],
        "unknown": [name for name in tensor_shapes if name not in shapes],
        "of another shape": wrong_shapes,
    }
    return "; ".join(
        f"{len(group)} {word} ({first_few(group, most=4, show=str)})" for word, group in groups.items() if group
    )


def _fit_advice(stated: Architecture, tensors: Mapping[str, Tensor]) -> str:
    """What to do where tensors do not fit: the architecture that they fit, as their shapes say it."""
    try:
        inferred = resolve(tensors, arch=None, config=None, script_quick_gelu=None)
        if not _misfits(inferred, tensors):
            advice = "the configuration beside them is of another model"
            if inferred.name in native_configs():
                advice = f"name it by --arch {inferred.name}"
            elif stated.origin.startswith("--arch"):
                advice = "leave --arch out"
            return f"By their shapes they are {inferred.name}: {advice}."
    except ClipcleanError:  # no architecture that we know
        pass
    return "Name the right architecture by --arch."


@contextlib.contextmanager
def _in_words(architecture: Architecture, /) -> Iterator[None]:
    """Turn errors of open_clip about an unsuitable config into UnsupportedModel."""
    try:
        yield
    except (TypeError, AssertionError, ValueError, RuntimeError, ArithmeticError, LookupError, AttributeError) as error:
        raise UnsupportedModel(
            f"open_clip cannot build {architecture.name}: {str(error) or type(error).__name__}. "
            "Name the right architecture by --arch."
        ) from error


def _arguments(architecture: Architecture, /) -> dict[str, object]:
    return {key: value for key, value in architecture.config.items() if key in CLIP_ARGUMENTS}


CLIP_ARGUMENTS = ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "nonscalar_logit_scale")


def fit(image: Tensor, preprocess: Preprocess, /) -> Tensor:
    """Resize and crop a uint8 image (3, H, W) to (3, S, S) as open_clip's inference transform does.

    Within 1/255 of the PIL transform. Resizing happens on uint8, with antialiasing; smaller images are padded with black.
    """
    size, (height, width) = preprocess.size, image.shape[-2:]
    if preprocess.resize_mode == "shortest" and (height, width) == (size, size):
        return image
    # Late: torchvision takes a second to import, and ``clipclean inspect`` needs none of it.
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as TF

    scale = size / max(height, width)
    longest = [max(1, round(side * scale)) for side in (height, width)]
    target = {"squash": [size, size], "longest": longest, "shortest": [size]}[preprocess.resize_mode]
    result: Tensor = TF.resize(image, target, interpolation=InterpolationMode(preprocess.interpolation), antialias=True)
    if preprocess.resize_mode != "squash":
        result = TF.center_crop(result, [size, size])
    return result


def pool_text(net: "CLIP", tokens: Tensor, end_positions: Tensor, /) -> Tensor:
    """Text embeddings (B, D), not normalised, of token ids (B, L), L up to the context, each pooled where it ends: ``end_positions`` (B,)."""
    length = tokens.shape[1]
    x = net.token_embedding(tokens) + net.positional_embedding[:length]  # (B, L, W)
    mask = None if net.attn_mask is None else net.attn_mask[:length, :length]
    x = net.ln_final(net.transformer(x, attn_mask=mask))
    features: Tensor = x[torch.arange(x.shape[0], device=x.device), end_positions]  # (B, W)
    if isinstance(net.text_projection, nn.Linear):
        features = net.text_projection(features)
    elif net.text_projection is not None:
        features = features @ net.text_projection
    return features


def has_bfloat16(device: torch.device, /) -> bool:
    """Whether the device multiplies bfloat16 natively; emulation is slower than fp32. False where torch, before 2.11, cannot tell."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    cpu = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    is_native = any(bool(cpu.get(name)) for name in ("avx512_bf16", "amx_bf16"))
    return device.type == "cpu" and bool(torch.backends.mkldnn.enabled) and is_native
