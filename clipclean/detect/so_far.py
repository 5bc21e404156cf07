"""What a search shows before its end: the classes with the highest scores by the families that are done, beside what clean models show."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from clipclean.config.effort import Effort
from clipclean.config.families import FAMILY_FACTS
from clipclean.detect.inversion import SmallestTrigger
from clipclean.detect.references import LateReferences, References
from clipclean.detect.score import strength_words, untried_suspects
from clipclean.detect.search import TOWARDS_CLASSES, SearchResult
from clipclean.detect.stages import Memory

TOWARDS = f"{TOWARDS_CLASSES} "
LOCAL = frozenset(name for name, family in FAMILY_FACTS.items() if family.is_local)  # searched first


@dataclass
class FirstAnswers:
    """The memory of a search, which tells on the way what the search shows so far; all is handed on to another memory.

    It tells once the first family was searched for towards the classes, and once all local ones were. The triggers were not tried on unseen
    images then.
    """

    memory: Memory  # that keeps the stages
    effort: Effort  # of the search
    classes: tuple[str, ...]  # names of all
    references: References | LateReferences | None  # clean models to compare with; None without any
    tell: Callable[[float, str], None]  # called with the share of the search that is done, and the answer in words
    _stages: dict[str, Any] = field(default_factory=dict)  # those that are done, by their names
    _is_begun: bool = False  # whether the first answer was told
    _is_half_told: bool = False  # whether the second was

    def recall(self, name: str, /) -> Any:
        """The result of a stage from the other memory, or None; it counts in the next answer."""
        result = self.memory.recall(name)
        if result is not None:
            self._stages[name] = result
        return result

    def keep(self, name: str, result: Any, /) -> None:
        """Save the result of a stage in the other memory, and tell what the search shows so far if it is time to."""
        self.memory.keep(name, result)
        self._stages[name] = result
        families = {
            stage.removeprefix(TOWARDS): candidates
            for stage, candidates in self._stages.items()
            if stage.startswith(TOWARDS)
        }
        is_half = families.keys() >= LOCAL.intersection(self.effort.families_towards)
        if name.startswith(TOWARDS) and not (self._is_half_told or (self._is_begun and not is_half)):
            self._is_begun, self._is_half_told = True, is_half
            self.tell(self._share(families), self._answer(families))

    def _share(self, families: dict[str, list[SmallestTrigger]]) -> float:
        """The share of the search's passes that are done."""
        targets = max(map(len, families.values()))
        total = self.effort.passes(targets=targets, swept=self.effort.classes_swept(len(self.classes)))
        waiting = FAMILY_FACTS.keys() - families.keys()
        # In most models no class comes near by a family of many steps.
        left_out = self.effort.vain_passes(waiting, targets=targets)
        return 1 - (self.effort.passes_towards_classes(waiting, targets=targets) - left_out) / (total - left_out)

    def _answer(self, families: dict[str, list[SmallestTrigger]]) -> str:
        """What the families show, in words."""
        acting, grid = (tuple(self._stages.get(name, ())) for name in ("panel", "grid"))
        known_sizes = {strength.trigger: strength.size for strength in (*acting, *grid)}
        clean = self.references.towards(()) if self.references else None  # measured by now
        references = clean and clean.apart_from(known_sizes)
        result = SearchResult(
            targeted=(),
            controls=(),
            untargeted=(),
            strengths=acting,
            references=references,
            passes=0,
            images=0,
            classes=self.classes,
            grid=grid,
            persuasions=tuple(self._stages.get("persuasion", ())),
        )
        candidates = [candidate for of_family in families.values() for candidate in of_family]
        return strength_words(untried_suspects(result, candidates), is_beside=references is not None)
