"""The module tree of a TorchScript archive, flattened as state_dict() would."""

import re

from clipclean.checkpoint.values import Module, Pairs
from clipclean.errors import UnsafeCheckpoint

MAX_VISITS = 50_000  # a CLIP has about 1,000 modules; shared modules could make the walk exponential
QUICK_GELU = re.compile(r"quick_?gelu", re.IGNORECASE)


def flatten(root: object, /) -> Pairs:
    """Every attribute that is no module, under its dotted name.

    Raises:
        UnsafeCheckpoint: the root is no module, or the tree is built to explode.
    """
    if not isinstance(root, Module):
        raise UnsafeCheckpoint("it is laid out as a TorchScript archive, but holds no module.")
    flat = Pairs()
    pending: list[tuple[str, Module]] = [("", root)]
    visits = 0
    while pending:
        prefix, module = pending.pop()
        for name, value in module.state.items if module.state else []:
            visits += 1
            if visits > MAX_VISITS or not isinstance(name, str) or len(prefix) + len(name) > 500:
                raise UnsafeCheckpoint("its tree of modules is larger or deeper than any CLIP.")
            if isinstance(value, Module):
                pending.append((f"{prefix}{name}.", value))
            else:
                flat.items.append((prefix + name, value))
    return flat


def names_quick_gelu(classes: tuple[str, ...], /) -> bool | None:
    """True if a class of the archive is called QuickGELU; None says nothing, for the activation may be inlined."""
    return True if any(QUICK_GELU.search(name.rpartition(".")[2]) for name in classes) else None
