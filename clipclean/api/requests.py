"""Requests: the arguments of a job, completed with defaults and bundled files.

The commands give the values of their options, the functions of the package their arguments; both are called alike. Nothing is
imported before it is needed: ``import clipclean`` stays quick, and a misspelt recipe or policy is refused before torch comes.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from clipclean.api.parameters import PARAMETERS, Values, labels
from clipclean.errors import UsageError

if TYPE_CHECKING:
    from clipclean.config.policy import Policy
    from clipclean.config.recipe import Recipe
    from clipclean.jobs.audit_inputs import AuditRequest
    from clipclean.jobs.export import ExportRequest
    from clipclean.jobs.plant import PlantRequest
    from clipclean.jobs.prepare import SanitizeRequest
    from clipclean.jobs.screen import ScreenRequest
    from clipclean.progress import Progress

Made = TypeVar("Made")


def filled(kind: Callable[..., Made], given: Values, /, **more: Any) -> Made:  # Any: values of options
    """A request of some kind: its fields from the options of the same names, and from ``more``."""
    several = {"labels": labels(given.get("label", ())), "triggers": given.get("trigger", ())}
    names = inspect.signature(kind).parameters
    return kind(**{name: value for name, value in ({**given, **several} | more).items() if name in names})


@contextlib.contextmanager
def of_audit(given: Values, /) -> Iterator["AuditRequest"]:
    """The request of an audit; bundled images exist as long as the context lasts."""
    chosen = policy_of(given)
    from clipclean import demo
    from clipclean.jobs import audit_inputs

    with demo.unpacked() as bundled:
        yield filled(
            audit_inputs.AuditRequest,
            given,
            data=given["data"] or bundled / demo.LABELLED,
            own=given["data"] is not None,
            pairs=bundled / demo.PAIRS,
            policy=chosen,
        )


def of_sanitize(given: Values, /) -> "SanitizeRequest":
    """The request of a cleaning."""
    recipe, policy = recipe_of(given), policy_of(given)
    from clipclean.config import recipe as recipes
    from clipclean.export import formats
    from clipclean.jobs import prepare

    return filled(
        prepare.SanitizeRequest,
        given,
        recipe=recipe,
        overridden=bool(given["set"]),
        precision=given["precision"] or recipe.train.precision,
        audit=given["panel"],
        policy=policy,
        screen=None if given["screen"] == "report" else given["screen"],
        wanted=formats.wanted(given["format"]),
        unnamed=None
        if given["recipe"] is not None
        else recipes.with_budget(given["set"], max_accuracy_loss=given["max_accuracy_loss"]),
        fits_warmup=not any(change.partition("=")[0].strip() == "train.warmup_steps" for change in given["set"]),
    )


def of_screen(given: Values, /) -> "ScreenRequest":
    """The request of a screening."""
    from clipclean.jobs import screen

    return filled(screen.ScreenRequest, given)


@contextlib.contextmanager
def of_export(given: Values, /) -> Iterator["ExportRequest"]:
    """The request of an export; bundled pairs exist as long as the context lasts."""
    from clipclean import demo
    from clipclean.export import formats
    from clipclean.jobs import export

    with demo.unpacked() as bundled:
        yield filled(
            export.ExportRequest,
            given,
            data=given["data"] or bundled / demo.PAIRS,
            own=given["data"] is not None,
            wanted=formats.wanted(
                given["format"], given["onnx_preset"], normalize=given["normalize"], fp16=given["fp16"]
            ),
        )


def of_plant(given: Values, /) -> "PlantRequest":
    """The request of a planting."""
    from clipclean.config import recipe as recipes
    from clipclean.jobs import plant

    chosen = {key: given[key] for key in ("rate", "steps", "lr", "batch_size") if given[key] is not None}
    named = given["trigger"]
    if isinstance(named, tuple) and len(named) != 1:
        raise UsageError(f"trigger: {len(named)} triggers. Give the one to plant.")
    trigger = named[0] if isinstance(named, tuple) else named
    return filled(plant.PlantRequest, given, trigger=trigger, planting=recipes.planting(**chosen))


def of_references(given: Values, /) -> contextlib.AbstractContextManager["AuditRequest"]:
    """The request of an audit of clean models; raises UsageError if there is none."""
    if not given["models"]:
        raise UsageError("models: none. Name one at least.")
    return of_audit({**given, "model": given["models"][0], "reference": (), "save_triggers": None, "search": True})


def fetched(given: Values, progress: "Progress", /) -> dict[str, Any]:  # Any: values of options
    """The values of options that name models, once those on a hub are in the cache."""
    from clipclean.jobs import fetch

    named = {name: given[name] for name, known in PARAMETERS.items() if known.is_model and given.get(name)}

    def place(each: object) -> object:
        return Path(fetch.fetch(str(each), progress=progress)) if isinstance(each, Path) else each

    return {
        name: tuple(map(place, value)) if isinstance(value, tuple) else place(value) for name, value in named.items()
    }


def recipe_of(given: Values, /) -> "Recipe":
    """The recipe with the values that are changed; raises UsageError."""
    from clipclean.config import recipe as recipes

    return recipes.chosen(given["recipe"], given["set"], max_accuracy_loss=given["max_accuracy_loss"])


def policy_of(given: Values, /) -> "Policy":
    """The policy, or the default one; raises UsageError."""
    from clipclean.config import policy as policies

    policy: Path | Policy | None = given.get("policy")
    ignored = given.get("ignore", ())
    if policy is None:
        return policies.ignoring(ignored) if ignored else policies.DEFAULT
    if ignored:
        raise UsageError("--policy and --ignore both say what counts. Write what is ignored into the policy.")
    return policies.load(policy) if isinstance(policy, Path) else policy
