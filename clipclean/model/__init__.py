"""From named tensors to a CLIP that embeds images and captions."""

from clipclean.model.activation import UNDECIDED_NOTE, choose_activation
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
    batch_norms,
    build,
    check,
    copy_weights,
    evaluating,
    fit,
    fold_norms,
    freezing,
    frozen_copy,
    has_bfloat16,
    parameter_count,
    pool_text,
    put_weights,
    refuse_tokenizer,
    refuse_unseen_settings,
    same_tokens,
    send,
    unfold_norms,
    unit_range,
)
from clipclean.model.in_memory import check_module
