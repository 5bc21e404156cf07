"""Successive halving of a search through many classes: after a protected beginning, the worse half stops, and later half of the rest.

Only the smallest triggers of a family decide, so most steps go to the classes that come near them. Plain numbers, without PyTorch:
recipes tell what a search costs. Source: Jamieson and Talwalkar 2016 (arXiv 1502.07943).
"""

import math

MANY = 11  # fewest classes that are halved: of fewer, as in a short list, each gets all steps
LEAST = 6  # fewest classes that get all steps: the finalists, and others to compare them with
PROTECTED = 0.4  # share of the steps that every class gets
AGAIN = 0.7  # share of the steps after which half of the rest stops


def left(rows: int, /, *, steps: int, halves: bool = True) -> list[int]:
    """How many of ``rows`` take part in each of ``steps``; all of them where the search does not halve."""
    if rows < MANY or not halves:
        return [rows] * steps
    first, second = math.ceil(PROTECTED * steps), math.ceil(AGAIN * steps)
    half, quarter = (max(LEAST, math.ceil(rows / parts)) for parts in (2, 4))
    return [rows if step < first else half if step < second else quarter for step in range(steps)]
