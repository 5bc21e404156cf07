"""The learning rate of each step: linear warm-up, then cosine to zero."""

import math


def learning_rate(step: int, /, *, peak: float, warmup: int, total: int) -> float:
    """The rate at ``step`` (0 .. total - 1).

    It climbs from peak / warmup to ``peak`` in the first ``warmup`` steps, then falls as a half cosine that would
    reach zero at step ``total``: the last step is small and never rises again. (The released CleanCLIP code numbers
    its epochs from 1, so its warm-up never happens and its last epoch climbs again.)
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return 0.5 * peak * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
