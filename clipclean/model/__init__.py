"""From named tensors to a CLIP that embeds pictures and captions."""

from clipclean.model.activation import Choice, measure
from clipclean.model.architecture import Architecture, Preprocess, native_configs, resolve
from clipclean.model.clip import Clip, build, evaluating, fit, frozen, twin

__all__ = [
    "Architecture",
    "Choice",
    "Clip",
    "Preprocess",
    "build",
    "evaluating",
    "fit",
    "frozen",
    "measure",
    "native_configs",
    "resolve",
    "twin",
]
