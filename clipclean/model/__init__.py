"""From named tensors to a CLIP that embeds images and captions."""

from clipclean.model.activation import UNDECIDED, ActivationChoice, measure
from clipclean.model.architecture import (
    OPENAI_MEAN,
    OPENAI_STD,
    Architecture,
    Preprocess,
    kind_of,
    native_configs,
    resolve,
    shape_of,
)
from clipclean.model.clip import (
    Clip,
    build,
    check,
    evaluating,
    fit,
    folded,
    frozen,
    frozen_copy,
    has_bfloat16,
    parameter_count,
    pooled,
    put,
    refuse_tokenizer,
    refuse_untold,
    same_tokens,
    sent,
    taken,
    unit_range,
)
from clipclean.model.in_memory import check_module
