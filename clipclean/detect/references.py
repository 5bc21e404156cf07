"""References: sizes of the triggers that the same search finds in clean models.

How small a natural trigger is depends on the architecture, the images and the class: some classes are easy to come to in every
model. So a suspect's size, beside those of the other classes of its model, is compared with the same in clean models.
"""

import ast
import functools
import hashlib
import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib import resources

from clipclean.config.effort import EFFORTS
from clipclean.detect.families import SEARCH_FAMILIES, comparable
from clipclean.errors import RefusedInput, UsageError
from clipclean.schema.report import ReferenceKind
from clipclean.schema.results import ReferencesFile
from clipclean.untrusted import printable

REFERENCES_FORMAT = "clipclean references 1"
NEVER = 2.0  # the least strength of a trigger of the panel that does not act in full
MOST_ODDS = 3.0  # that an image resists a known trigger which turns a quarter of them into a class: no more counts
ROUNDED = 1 + 1e-6  # a share of one, as a sum of rounded numbers
TWIN_SHARE = 0.97  # share of the known triggers that act alike on a twin
LEAST_COMMON_TRIGGERS = 8  # least number of them that say something
# What sizes come from: what is searched for and how long, what a trigger paints, and how images are embedded. Names count in the digest of
# these: after a rename users have to build their references anew.
MEASURED_BY = (
    *(
        "attack/triggers.py",
        "config/effort.py",
        "config/families.py",
        "detect/families.py",
        "detect/forward.py",
        "detect/inversion.py",
    ),
    *("detect/measure.py", "detect/metrics.py", "detect/reach.py", "detect/search.py", "detect/zeroshot.py"),
)
MOVES_NO_SIZE = ("annotation", "returns", "kind", "type_comment", "type_params")  # fields of syntax trees
PANEL_KEY = "panel"  # stands beside the families: the least strengths of the triggers of the panel, by spec
PATTERN = "pattern"  # likewise: the odds that an image resists the known trigger that turns most into a class
REACH = "reach"  # likewise, with a family: how far its triggers move embeddings for their sizes, by class
PERSUASION = "persuasion"  # likewise: by how much known triggers make a model surer of one class than of any other
MOST_REACH = 1e9  # the largest that a file may hold

Sizes = Mapping[str, Mapping[str, float]]  # of one model: family -> class -> size


@dataclass(frozen=True)
class References:
    """Sizes in clean models, and where they come from."""

    kind: ReferenceKind
    name: str
    entries: tuple[Sizes, ...]

    @property
    def models(self) -> int:
        """How many clean models there are."""
        return len(self.entries)

    def towards(self, _classes: Sequence[int], /) -> "References":
        """Themselves, whatever classes count; see :class:`LateReferences`."""
        return self

    def apart_from(self, panel: Mapping[str, float], /) -> "References | None":
        """Those that do not answer like the tested model, whose sizes of the panel these are; None if none is left.

        A model is another one in disguise, with rotated embeddings or another logit scale, where known triggers turn as many images
        as they do in it: that counts images, and so tells two trainings apart.
        """
        others = []
        for sizes in self.entries:
            panel_sizes = sizes.get(PANEL_KEY, {})
            # By those that turn images at all.
            telling = [
                name for name in panel_sizes.keys() & panel.keys() if min(panel_sizes[name], panel[name]) < NEVER
            ]
            alike = sum(math.isclose(panel_sizes[name], panel[name], rel_tol=1e-4) for name in telling)
            if len(telling) < LEAST_COMMON_TRIGGERS or alike < TWIN_SHARE * len(telling):
                others.append(sizes)
        return replace(self, entries=tuple(others)) if others else None

    def margin(self, family: str, target: str, /) -> float:
        """The margin that clean models have for this class; nan where none was measured. See :func:`margins`.

        Of several clean models the median counts: the largest only grows with every model that is given, until it hides backdoors.
        """
        by_model = []
        for sizes in self.entries:
            if len(sizes.get(family, ())) > 1:
                by_class = margins({name: comparable(family, size) for name, size in sizes[family].items()})
                by_model.append(by_class.get(target, max(by_class.values())))
        return statistics.median(by_model or [math.nan])

    def shrunk(self, family: str, target: str, size: float, /) -> float:
        """How much smaller a size is than clean models need for this class, as a difference of logarithms; nan without any.

        A model in which the class was not searched for counts by its smallest size.
        """
        by_model = (sizes[family] for sizes in self.entries if sizes.get(family))
        logs = [math.log(comparable(family, by_class.get(target, min(by_class.values())))) for by_class in by_model]
        return statistics.median(logs or [math.nan]) - math.log(size)

    def exceeded(self, family: str, target: str, reach: float, /) -> float:
        """By how much a trigger's reach exceeds that of clean models for this class, as a difference of logarithms; nan without any.

        A model without one for the class counts by the median of its classes.
        """
        by_model = (sizes[reach_of(family)] for sizes in self.entries if sizes.get(reach_of(family)))
        logs = [math.log(by_class.get(target, statistics.median(by_class.values()))) for by_class in by_model]
        return math.log(reach) - statistics.median(logs or [math.nan])

    def distance_from_known(self, target: str, /) -> float:
        """How far clean models are from being led to a class by known triggers: 1 where these turn a quarter of the images into it at most,
        0 where half; 1 too where none was measured.
        """
        odds = [sizes[PATTERN].get(target, MOST_ODDS) for sizes in self.entries if PATTERN in sizes]
        share, least, most = (
            1 / (1 + resisting) for resisting in (statistics.median(odds or [MOST_ODDS]), MOST_ODDS, 1.0)
        )
        return min(1.0, max(0.0, (most - share) / (most - least)))

    def least(self, trigger: str, /) -> float | None:
        """The least strength at which a trigger of the panel acts on clean models; None where none was measured."""
        strengths = [sizes[PANEL_KEY][trigger] for sizes in self.entries if trigger in sizes.get(PANEL_KEY, {})]
        return statistics.median(strengths) if strengths else None

    def sizes(self, family: str, /) -> dict[str, float] | None:
        """Of the smallest size in each clean model: ``median``, ``low``, ``high`` and their number; None without any."""
        smallest = [min(sizes[family].values()) for sizes in self.entries if sizes.get(family)]
        if not smallest:
            return None
        middle = math.exp(statistics.median(map(math.log, smallest)))
        return {"median": middle, "low": min(smallest), "high": max(smallest), "n": len(smallest)}


@dataclass
class LateReferences:
    """Clean models that are searched once it is known towards which classes the tested one is: then no class of theirs is chosen in vain."""

    measure: Callable[[Sequence[int]], References | None]  # places of classes -> what the models need for these
    _measured_so_far: list[References | None] = field(default_factory=list)

    @property
    def measured_so_far(self) -> References | None:
        """What was measured; None before, and where there is no model."""
        return self._measured_so_far[0] if self._measured_so_far else None

    def towards(self, classes: Sequence[int], /) -> References | None:
        """What the models need for the classes at these places; they are searched once, for the first that are given."""
        if not self._measured_so_far:
            self._measured_so_far.append(self.measure(classes))
        return self.measured_so_far


def reach_of(family: str, /) -> str:
    """The name that the reach of a family's triggers has among the sizes of a model."""
    return f"{REACH} of {family}"


def is_natural(references: References | None, trigger: str, /) -> bool:
    """Whether a trigger of the panel acts in full on the clean models to compare with."""
    least = references.least(trigger) if references else None
    return least is not None and least <= 1.0


NO_REFERENCES = References("file", "", ())  # where nothing is compared


def margins(sizes: Mapping[str, float], /) -> dict[str, float]:
    """By how much each class's size is smaller than the smallest of the others, as a difference of logarithms."""
    logs = {name: math.log(size) for name, size in sizes.items()}
    return {name: min(log for other, log in logs.items() if other != name) - own for name, own in logs.items()}


def vocabulary(classes: Sequence[str], /) -> str:
    """Tells class lists apart: natural triggers are those of a list, so references of another one do not serve."""
    return hashlib.sha256(json.dumps(sorted(classes)).encode()).hexdigest()[:16]


def digest_of(sources: Iterable[bytes], /) -> str:
    """A digest of what Python sources do: comments, docstrings, types and the words of errors are not in it."""

    def essence(node: object) -> object:
        if isinstance(node, list):
            return [essence(item) for item in node if not is_idle(item)]
        if isinstance(node, ast.AST):
            return [
                type(node).__name__,
                *(essence(v) for name, v in ast.iter_fields(node) if name not in MOVES_NO_SIZE),
            ]
        return repr(node)

    def is_idle(node: object) -> bool:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        return is_docstring or isinstance(node, ast.Raise | ast.Import | ast.ImportFrom)

    return hashlib.sha256(repr([essence(ast.parse(source)) for source in sources]).encode()).hexdigest()


@functools.cache
def code_digest() -> str:
    """The digest of the code that sizes come from: references of other code are no references."""
    return digest_of(resources.files("clipclean").joinpath(name).read_bytes() for name in MEASURED_BY)


def as_file(kind: str, effort: str, classes: Sequence[str], models: Mapping[str, Sizes], /) -> ReferencesFile:
    """A references file: what was measured with, and the sizes of each model, by its name and digest."""
    return {
        "format": REFERENCES_FORMAT,
        "code": code_digest(),
        "kind": kind,
        "effort": effort,
        "vocabulary": vocabulary(classes),
        "classes": len(classes),
        "models": [{"name": name, "sizes": {f: dict(s) for f, s in sizes.items()}} for name, sizes in models.items()],
    }


def from_file(
    stored: Mapping[str, object], name: str, /, *, kind: str, effort: str, classes: Sequence[str]
) -> References:
    """References of a file that :func:`as_file` made, for a model of this kind that is searched so.

    Raises:
        RefusedInput: it is no such file, holds no model, or sizes that none can have.
        UsageError: it was made with another version of the search, effort, kind of model or class list.
    """
    models = stored.get("models")
    if stored.get("format") != REFERENCES_FORMAT or not isinstance(models, list) or not models:
        raise RefusedInput(f"{name} holds no references of clean models. Build them by 'clipclean references build'.")
    expected_values = {"code": code_digest(), "kind": kind, "effort": effort, "vocabulary": vocabulary(classes)}
    words = {
        "code": "another version of clipclean",
        "kind": f"{printable(stored.get('kind'))[:40]} models, and this one is {kind}",
        "effort": f"effort {printable(stored.get('effort'))[:40]}, and this run has {effort}",
        "vocabulary": "another class list",
    }
    if other := [words[key] for key, value in expected_values.items() if stored.get(key) != value]:
        advice, stored_effort = "Build them again.", stored.get("effort")
        if other == [words["effort"]] and isinstance(stored_effort, str) and stored_effort in EFFORTS:
            advice = (
                f"Take their effort, by --effort {stored_effort} of audit or --set auto.effort={stored_effort} of sanitize, or build "
                f"them again with --effort {effort}."
            )
        raise UsageError(f"The references {name} were made with {'; '.join(other)}: they cannot be compared. {advice}")
    return References("file", name, tuple(_sizes(model, name) for model in models))


def _sizes(model: object, name: str) -> Sizes:
    """The sizes of one model of a file, looked at number by number."""
    sizes = model.get("sizes") if isinstance(model, dict) else None
    if not isinstance(sizes, dict) or not sizes:
        raise RefusedInput(f"{name}: a model has no sizes. Build the references again.")
    # The largest value that a measure has: the cap of a family, and what the others can be; 0 of what is unknown.
    largest = {PANEL_KEY: NEVER, PATTERN: MOST_ODDS}
    largest |= {name: ROUNDED * family.cap for name, family in SEARCH_FAMILIES.items()}
    largest |= {reach_of(family): MOST_REACH for family in SEARCH_FAMILIES}
    for family, by_class in sizes.items():
        values = by_class.values() if isinstance(by_class, dict) else ()
        most = largest.get(str(family), 0.0)
        if not values or not all(type(size) in (int, float) and 0 < size <= most for size in values):
            raise RefusedInput(
                f"{name}: {str(family)[:40]!a} holds a value that is not a size. Build the references again."
            )
    return sizes


def merged_references(several: Sequence[References], /) -> References:
    """Several references as one: a class counts as unusual beside most of their models."""
    kinds = {references.kind for references in several}
    kind: ReferenceKind = kinds.pop() if len(kinds) == 1 else "reference"
    return References(
        kind,
        ", ".join(references.name for references in several),
        tuple(s for references in several for s in references.entries),
    )


@dataclass(frozen=True)
class Calibration:
    """What clean models show; sizes are compared by the differences of their logarithms."""

    units: Mapping[str, float]  # by family, and for known triggers, the margin that counts as one
    natural: Mapping[str, float]  # of waves and known triggers, the margin of natural ones: only more counts
    scores: Sequence[float]  # of clean models, each the largest score of any of its classes
    beside: Sequence[float]  # the same beside another clean model of the same data, a pair each

    def score(self, rate: float, /, *, is_beside: bool = False) -> float:
        """The score that this share of clean models, at most a half, reaches, by an exponential tail beyond their median.

        With ``is_beside`` of clean models beside another one.
        """
        scores = self.beside if is_beside else self.scores
        middle = statistics.median(scores)
        return middle - statistics.fmean(score - middle for score in scores if score > middle) * math.log(2 * rate)

    def rank(self, rate: float, /) -> float:
        """The least score that at most this share of clean models beside another one reach, by their ranks alone (conformal): a further
        pair is as likely to take any place among them, whatever the distribution. By the tail where they are too few to tell.

        Vovk, Gammerman, Shafer 2005, "Algorithmic learning in a random world".
        """
        most = math.floor(rate * (len(self.beside) + 1)) - 1  # pairs that may have as much
        if most < 0:
            return max(self.score(rate, is_beside=True), math.nextafter(max(self.beside), math.inf))
        return math.nextafter(sorted(self.beside)[-most - 1], math.inf)

    def rate(self, score: float, /) -> float:
        """The share of clean models that reach a score above the median, by the same tail; far out it is no more than a guess."""
        return math.exp((self.score(0.5) - score) / (self.score(0.5 / math.e) - self.score(0.5))) / 2


@functools.cache
def calibration() -> Calibration:
    """That of the models of ``benchmarks/audit.py``, which ships."""
    text = resources.files("clipclean.detect").joinpath("calibration.json").read_text(encoding="utf-8")
    stored = json.loads(text)
    return Calibration(**{field.name: stored[field.name] for field in fields(Calibration)})


def evidence(margin: float, family: str, /, *, usual: float = -math.inf, shrunk: float = math.inf) -> float:
    """A margin in units of the family, beyond what natural triggers have; 0 where another class is as easy to come to.

    Beside clean models it must also go beyond the margin ``usual`` that they have for this class, and counts only as far as the trigger
    is ``shrunk`` against theirs (logarithms): a class may be the easiest one in all models, and a model in which every class is easy
    to come to has no backdoor for it.
    """
    calibrated = calibration()
    return max(0.0, min(margin - max(usual, calibrated.natural.get(family, 0.0)), shrunk)) / calibrated.units[family]
