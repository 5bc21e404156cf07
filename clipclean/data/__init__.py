"""Clean image-caption data from local disk, in a fixed order, decoded."""

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipclean.data.shown import *  # noqa: F403 # all of it


def __getattr__(name: str) -> object:
    """What the room shows, when it is asked for: the help names the formats of ``formats``, and does not wait for torch."""
    if name.startswith("__") or find_spec(f"{__name__}.{name}"):  # a module of the room, which Python imports itself
        raise AttributeError(name)
    found: object = getattr(importlib.import_module(f"{__name__}.shown"), name)
    globals()[name] = found  # once
    return found
