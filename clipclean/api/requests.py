"""Requests: the arguments of a job, completed with defaults and bundled files.

The commands give the values of their options, the functions of the package their arguments; both are called alike. Nothing is
imported before it is needed: ``import clipclean`` stays quick, and a misspelt recipe or policy is refused before torch comes.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from clipclean.api.parameters import Values, labels

if TYPE_CHECKING:
    from clipclean.config.policy import Policy
    from clipclean.config.recipe import Recipe
    from clipclean.jobs.audit_inputs import AuditRequest
    from clipclean.jobs.export import ExportRequest
    from clipclean.jobs.prepare import SanitizeRequest
    from clipclean.jobs.screen import ScreenRequest

Made = TypeVar("Made")


def filled(kind: Callable[..., Made], given: Values, /, **more: Any) -> Made:  # Any: values of options
    """A request of some kind: its fields from the options of the same names, and from ``more``."""
    names = inspect.signature(kind).parameters
    return kind(**{name: value for name, value in given.items() if name in names} | more)


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
            triggers=given.get("trigger", ()),
            labels=labels(given.get("label", ())),
        )


def of_sanitize(given: Values, /) -> "SanitizeRequest":
    """The request of a cleaning."""
    recipe, policy = recipe_of(given), policy_of(given)
    from clipclean.export import formats
    from clipclean.jobs import prepare

    return filled(
        prepare.SanitizeRequest,
        given,
        recipe=recipe,
        overridden=bool(given["set"]),
        precision=given["precision"] or recipe.train.precision,
        audit=given["panel"],
        triggers=given["trigger"],
        policy=policy,
        screen=None if given["screen"] == "report" else given["screen"],
        wanted=formats.wanted(given["format"]),
        labels=labels(given.get("label", ())),
        unnamed=None if given["recipe"] is not None else _settings(given),
        fits_warmup=not any(change.partition("=")[0].strip() == "train.warmup_steps" for change in given["set"]),
    )


def of_screen(given: Values, /) -> "ScreenRequest":
    """The request of a screening."""
    from clipclean.jobs import screen

    return filled(screen.ScreenRequest, given, triggers=given["trigger"])


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
            labels=labels(given.get("label", ())),
        )


def recipe_of(given: Values, /) -> "Recipe":
    """The recipe with the values that are changed; raises UsageError."""
    from clipclean.config import recipe as recipes

    return recipes.chosen(
        given["recipe"],
        given["set"],
        max_accuracy_loss=given["max_accuracy_loss"],
        max_minutes=given["max_minutes"],
    )


def _settings(given: Values) -> tuple[str, ...]:
    """The changed values, for any recipe."""
    from clipclean.config import recipe as recipes

    return recipes.with_budgets(given["set"], max_accuracy_loss=given["max_accuracy_loss"], max_minutes=None)


def policy_of(given: Values, /) -> "Policy":
    """The policy, or the default one; raises UsageError."""
    from clipclean.config import policy as policies

    policy: Path | Policy | None = given.get("policy")
    if policy is None:
        return policies.DEFAULT
    return policies.load(policy) if isinstance(policy, Path) else policy
