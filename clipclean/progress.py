"""How work tells what it is doing: a function of the stage, what is done, and the total."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # stage, done, total; a total of 0 is not known yet
