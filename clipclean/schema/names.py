"""Names of which reports and options have a fixed list; without pydantic, so that a terminal can ask for them at once."""

from typing import Literal

EffortName = Literal["quick", "standard", "thorough"]  # keys of ``config.effort.EFFORTS``
