"""Whether a module in memory is open_clip's own, part by part: its weights alone are audited, and so nothing else may act."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from clipclean.errors import UnsupportedModel
from clipclean.model.architecture import Architecture
from clipclean.model.clip import Attention, Clip, Patches, Sigmoid, build, evaluating
from clipclean.untrusted import first_few

NEAR, NEAR_IN_HALF = 1e-3, 0.05  # distance of the outputs of two modules of the same weights, relative to their length
HOOK_NAMES = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
)
GLOBAL_HOOK_NAMES = (
    "_global_forward_hooks",
    "_global_forward_pre_hooks",
    "_global_backward_hooks",
    "_global_backward_pre_hooks",
)
# Settings that change no output in evaluation mode.
FREE_SETTINGS = {"training", "grad_checkpointing", "output_dict", "inplace"}
PLAIN_MODEL_ADVICE = (
    "clipclean audits open_clip's own module with these weights, and this one is another. Give the plain model."
)


def check_module(net: nn.Module, architecture: Architecture, tensors: Mapping[str, Tensor], /) -> None:
    """Raise UnsupportedModel unless a module in memory is open_clip's own with its weights: that is what is audited.

    Each part must be of the class that open_clip puts there, with its settings, without hooks and methods of its own: what differs may
    act under a trigger alone, and answers like the rest on the few inputs that are tried here.
    """
    if hook_parts := [
        name or "the model"
        for name, part in net.named_modules()
        if any(getattr(part, hook, None) for hook in HOOK_NAMES)
    ]:
        raise UnsupportedModel(f"The module has hooks ({first_few(hook_parts, show=str)}). {PLAIN_MODEL_ADVICE}")
    if any(getattr(torch_module, name, None) for name in GLOBAL_HOOK_NAMES):
        raise UnsupportedModel(
            "Hooks for all modules are registered in this process. Remove them, and give the model again."
        )
    reference = build(architecture, tensors, device=str(next(net.parameters()).device))
    if unlike := list(_unlike(net, reference.net)):
        raise UnsupportedModel(
            f"The module has parts that are not open_clip's: {first_few(unlike, show=str)}. {PLAIN_MODEL_ADVICE}"
        )
    _refuse_other_answers(net, reference)


def _unlike(net: nn.Module, reference: nn.Module, /) -> Iterator[str]:
    """The parts that open_clip's module with the same weights has not, or has in another way."""
    from open_clip.transformer import QuickGELU

    # What open_clip puts where the module that is built here computes the same in another way.
    usual: dict[type, type] = {Attention: nn.MultiheadAttention, Patches: nn.Conv2d, Sigmoid: QuickGELU}
    reference_parts = dict(reference.named_modules())
    for name, part in net.named_modules():
        # It drops patches in training alone, and is left out of the module that is built here.
        if name.startswith("visual.patch_dropout"):
            if type(part).__module__ not in ("open_clip.transformer", "torch.nn.modules.linear"):
                yield name
            continue
        kind: type = type(part)
        reference_part, where = reference_parts.get(name), name or "the model"
        if reference_part is None or kind is not usual.get(type(reference_part), type(reference_part)):
            yield f"{where} is a {kind.__qualname__}"
        elif methods := [key for key, value in vars(part).items() if callable(value) and hasattr(kind, key)]:
            yield f"{where} has a {first_few(methods, show=str)} of its own"
        elif settings := [
            key for key, value in _settings(part).items() if _settings(reference_part).get(key, value) != value
        ]:
            yield f"{where} has another {first_few(settings, show=str)}"
    state, buffers = net.state_dict(), dict(reference.named_buffers())
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        if type(tensor) not in (nn.Parameter, Tensor):
            yield f"{name} is a {type(tensor).__qualname__}"
        elif name not in state and (name not in buffers or not torch.equal(tensor.float(), buffers[name].float())):
            yield f"{name} has other values"  # such as a causal mask, which no state dict holds


def _settings(part: nn.Module, /) -> dict[str, object]:
    """The plain values that a part keeps, such as the number of heads or an epsilon."""
    plain = (bool, int, float, str, tuple, type(None))
    return {key: value for key, value in vars(part).items() if isinstance(value, plain) and key not in FREE_SETTINGS}


def _refuse_other_answers(net: nn.Module, reference: Clip, /) -> None:
    """Refuse a module that answers unlike the one that was built of its weights."""
    parameter = next(net.parameters())
    pixels, tokens = (
        reference.normalise(reference.samples()),
        reference.tokens(["a photo of a dog", "cats"]).to(parameter.device),
    )
    with torch.no_grad(), evaluating(net):
        for tower, inputs in (("image", pixels), ("text", tokens)):
            encode, reference_answer = (
                getattr(net, f"encode_{tower}"),
                getattr(reference.net, f"encode_{tower}")(inputs),
            )
            answer = encode(inputs.to(parameter.dtype) if tower == "image" else inputs).float()
            near = NEAR if parameter.dtype == torch.float32 else NEAR_IN_HALF
            if (
                answer.shape != reference_answer.shape
                or not (answer - reference_answer).norm() <= near * reference_answer.norm()
            ):
                raise UnsupportedModel(
                    f"The {tower} tower of the module answers unlike its weights in open_clip's module. {PLAIN_MODEL_ADVICE}"
                )
