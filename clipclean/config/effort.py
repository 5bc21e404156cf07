"""``EFFORTS``: how hard a search looks for triggers that nobody described, and what that costs, without PyTorch.

Through many classes a search halves successively: after a protected beginning the worse half stops, and later half of the rest. Only
the smallest triggers of a family decide, so most steps go to the classes that come near them. Source: Jamieson and Talwalkar 2016
(arXiv 1502.07943).
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

from clipclean.config.families import FAMILY_FACTS
from clipclean.schema.names import EffortName

SEARCHED_SHARE = 0.6  # share of the images to search on; the others judge
MOST_SEARCHED_IMAGES = 256  # most images to search on
MOST_JUDGING_IMAGES = 150  # most images that judge a found trigger: an excess of 0.6 is then known to 0.08
HALVED_CLASSES = 11  # fewest classes that are halved: of fewer, as in a short list, each gets all steps
FULLY_SEARCHED_CLASSES = 6  # fewest classes that get all steps: the finalists, and others to compare them with
PROTECTED_SHARE = 0.4  # share of the steps that every class gets
QUARTERED_SHARE = 0.7  # share of the steps after which half of the rest stops
# Shares of the steps of a brief search after which half of the classes stops.
GLANCE_HALVING_SHARES = (0.4, 0.5, 0.6, 0.7)
MOST_SWEPT = 200  # most classes of a brief search; of a longer list the suspects, and others at random
CLASSES_AT_ONCE = 64  # classes of a brief search that are in memory at once
FIRST_STEPS_SHARE, SECOND_STEPS_SHARE = 0.55, 0.65  # shares of the steps, of all classes and then of the finalists
FINALISTS = 3  # classes of a family whose search continues in a second round
SECOND_ROUND_FACTOR = 2  # on the images of a step: deciding sizes must not depend on a lucky batch


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How hard to search."""

    # In which a search goes towards classes; where the sizes of all count, it goes in all families.
    families: tuple[str, ...] = tuple(FAMILY_FACTS)
    # Those that it looks in without a target, and briefly through a long list: one that changes a part of the image, one that changes all.
    without_target: tuple[str, ...] = ("mask", "additive")
    restarts: int = 1  # searches without a target, per family
    steps: int = 40  # of each search
    free_images: int = 16  # per step and restart without a target
    images: int = 6  # per step and class towards a target
    suspects: int  # most classes that are searched for because a sign points at them
    controls: int = 20  # other classes that are searched for, to compare with, where these are all
    # Classes of a longer list that are searched for: the suspects, the leaders of the brief search, and some drawn at random to fill up; all
    # suspects and controls where the sizes of all count. A random class hardly ever needs less than the leaders: in 8 searches of 24 out of 100 to 400
    # classes the two smallest triggers were for the first twelve in all 38 families that can paint any pattern, so that every score stayed.
    sampled: int = 12
    collapse: float = 0.85  # share of the spread that a search without a target must take away
    success: float = 0.85  # share of images that a search towards a class must turn
    # Steps of a brief search through a long list, in each family that is searched without a target, whose leaders are suspects too; 0 leaves it out.
    # Each takes one image a class: twice the steps tell more than twice the images.
    sweep: int = 20
    most_swept: int = MOST_SWEPT  # classes of it
    # Whether of many classes the worse half stops on the way; where the sizes of all count, as in an unlearning, none does. In brief
    # searches, which give no sizes, it always does.
    halves: bool = True

    @property
    def full_list_limit(self) -> int:
        """Most classes of a list that are all searched for; a longer one is swept."""
        return self.suspects + self.controls

    def classes_searched(self, classes: int, /) -> int:
        """How many classes of a list are searched for."""
        return (
            classes
            if classes <= self.full_list_limit
            else min(self.sampled, self.full_list_limit)
            if self.halves
            else self.full_list_limit
        )

    @property
    def first_round_steps(self) -> int:
        """Steps of the first round, towards all classes."""
        return max(1, round(FIRST_STEPS_SHARE * self.steps))

    @property
    def second_round_steps(self) -> int:
        """Steps of the second round, towards the finalists."""
        return max(1, round(SECOND_STEPS_SHARE * self.steps))

    def classes_swept(self, classes: int, /) -> int:
        """How many classes of a list are briefly searched for: none of a short one."""
        return min(classes, self.most_swept) if classes > self.full_list_limit and self.sweep else 0

    def passes(self, families: Collection[str] = tuple(FAMILY_FACTS), /, *, targets: int, swept: int) -> int:
        """Most images that go forward and back through the image tower, with that many classes searched for, and briefly searched for.

        ``families`` are all that there are.
        """
        free = self.steps * self.restarts * self.free_images
        first = len(set(self.without_target).intersection(families))
        return self.passes_towards_classes(families, targets=targets) + first * (free + self.brief_passes(swept))

    def brief_passes(self, swept: int, /) -> int:
        """The passes of a brief search of so many classes in one family."""
        rows = (min(CLASSES_AT_ONCE, swept - start) for start in range(0, swept, CLASSES_AT_ONCE))
        return sum(sum(rows_at_a_glance(count, steps=self.sweep)) for count in rows)

    @property
    def families_towards(self) -> tuple[str, ...]:
        """The families that a search goes towards classes in."""
        return self.families if self.halves else tuple(FAMILY_FACTS)

    def passes_towards_classes(self, families: Collection[str] = tuple(FAMILY_FACTS), /, *, targets: int) -> int:
        """Most passes towards classes, in those of the families that it goes in."""
        families = [name for name in self.families_towards if name in families]
        first = sum(sum(self._rows(name, targets)) * self.images for name in families)
        second = min(FINALISTS, targets) * self.second_round_steps * SECOND_ROUND_FACTOR * self.images
        return first + sum(FAMILY_FACTS[name].is_general for name in families) * second

    def vain_passes(self, families: Collection[str] = tuple(FAMILY_FACTS), /, *, targets: int) -> int:
        """Those of the passes towards classes that are left out in these families if no class comes near."""
        vain = (
            name for name in self.families_towards if name in families and FAMILY_FACTS[name].vain_share is not None
        )
        rows_by_family = {name: self._rows(name, targets) for name in vain}
        return sum(sum(rows[self.trial_steps(name) :]) * self.images for name, rows in rows_by_family.items())

    def trial_steps(self, family: str, /) -> int:
        """The steps of the first round in a family after which it ends where no class came near."""
        facts = FAMILY_FACTS[family]
        return math.ceil((1.0 if facts.vain_share is None else facts.vain_share) * self.first_round_steps * facts.steps)

    def _rows(self, family: str, targets: int) -> list[int]:
        """How many classes take part in each step of the first round."""
        return rows_by_step(targets, steps=self.first_round_steps * FAMILY_FACTS[family].steps, halves=self.halves)

    def cost(self, classes: int, /) -> int:
        """The same for a list of so many classes."""
        return self.passes(targets=self.classes_searched(classes), swept=self.classes_swept(classes))

    @property
    def most_cost(self) -> int:
        """The most passes for a list of any length: of the longest that is searched whole, or of the longest that is swept."""
        return max(self.cost(classes) for classes in (HALVED_CLASSES - 1, self.full_list_limit, MOST_SWEPT))

    @property
    def costs(self) -> str:
        """The cost of a short list of classes and of the worst one, as pages state them."""
        return f"{self.cost(SHORT_LIST):,} to {self.most_cost:,}"


# References serve the effort that they were measured with.
EFFORTS: dict[EffortName, Effort] = {
    # The two families that show most. In 60 models of the half that rules were chosen on they name as many victims as all do, 9 of 14, and fail 3
    # instead of 5; 4 of 46 clean ones reach a doubt instead of 11.
    "quick": Effort(families=("patch", "blend"), without_target=("mask",), suspects=2, controls=10, most_swept=100),
    "standard": Effort(suspects=4),
    "thorough": Effort(restarts=2, steps=80, images=12, suspects=10, controls=30, sampled=40, sweep=60),
}
SHORT_LIST, LONG_LIST = 10, MOST_SWEPT  # lists of classes whose cost is told


def rows_by_step(rows: int, /, *, steps: int, halves: bool = True) -> list[int]:
    """How many of ``rows`` take part in each of ``steps``; all of them where the search does not halve."""
    if rows < HALVED_CLASSES or not halves:
        return [rows] * steps
    first, second = math.ceil(PROTECTED_SHARE * steps), math.ceil(QUARTERED_SHARE * steps)
    half, quarter = (max(FULLY_SEARCHED_CLASSES, math.ceil(rows / parts)) for parts in (2, 4))
    return [rows if step < first else half if step < second else quarter for step in range(steps)]


def rows_at_a_glance(rows: int, /, *, steps: int) -> list[int]:
    """How many of ``rows`` take part in each of the ``steps`` of a brief search, of which only the first few count.

    Half of them stops four times. In 48 brief searches of six victims with 50 to 400
    classes the target was among the leaders of either family 43 times; 42 times with two halves, at 0.4 and 0.7, and 43 times with none.
    """
    if rows < HALVED_CLASSES:
        return [rows] * steps
    halved = (sum(step >= math.ceil(share * steps) for share in GLANCE_HALVING_SHARES) for step in range(steps))
    return [max(FULLY_SEARCHED_CLASSES, math.ceil(rows / 2**times)) for times in halved]
