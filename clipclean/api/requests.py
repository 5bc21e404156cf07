"""Requests: the arguments of a job, completed with defaults and bundled files.

The commands give the values of their options, the functions of the package their arguments; both are called alike. Nothing is
imported before it is needed: ``import clipclean`` stays quick, and a misspelt recipe or policy is refused before torch comes.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from clipclean.config.policy import Policy
    from clipclean.config.recipe import Recipe
    from clipclean.export.formats import ExportOptions
    from clipclean.jobs.audit_inputs import AuditRequest
    from clipclean.jobs.export import ExportRequest
    from clipclean.jobs.prepare import SanitizeRequest
    from clipclean.jobs.screen import ScreenRequest

Given = Mapping[str, Any]  # Any: values by the names of options
Made = TypeVar("Made")

PLACES = ("model", "data", "eval_data", "out", "policy", "save_triggers", "save_kept", "trusted")
LISTS = ("classes", "templates")  # a file with one a line, or the texts themselves
SEVERAL = ("reference", "references")  # one, or several


def normal(arguments: Given, /) -> Given:
    """The arguments of a function as a command has them: places as paths, several of them as a tuple."""
    given = dict(arguments)
    for name in given.keys() & {*PLACES, *LISTS}:
        given[name] = _path(given[name])
    for name in given.keys() & {*SEVERAL}:
        several = given[name]
        many = several if isinstance(several, list | tuple) else () if several is None else (several,)
        given[name] = tuple(map(_path, many))
    for name in given.keys() & {*LISTS}:
        if isinstance(given[name], Sequence):
            given[name] = tuple(given[name])
    return given


def filled(kind: Callable[..., Made], given: Given, /, **more: Any) -> Made:  # Any: values of options
    """A request of some kind: its fields from the options of the same names, and from ``more``."""
    names = inspect.signature(kind).parameters
    return kind(**{name: value for name, value in given.items() if name in names} | more)


@contextlib.contextmanager
def of_audit(given: Given, /) -> Iterator["AuditRequest"]:
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
            labels=given.get("labels") or {},
        )


def of_sanitize(given: Given, /) -> "SanitizeRequest":
    """The request of a cleaning."""
    recipe, policy = recipe_of(given), policy_of(given)
    from clipclean.jobs import prepare

    return filled(
        prepare.SanitizeRequest,
        given,
        recipe=recipe,
        overridden=bool(given["overrides"]),
        precision=given["precision"] or recipe.train.precision,
        audit=given["panel"],
        triggers=tuple(given["triggers"]),
        policy=policy,
        wanted=_wanted(given),
        labels=given["labels"] or {},
        unnamed=None if given["recipe"] is not None else _settings(given),
        fits_warmup=not any(change.partition("=")[0].strip() == "train.warmup_steps" for change in _changes(given)),
    )


def of_screen(given: Given, /) -> "ScreenRequest":
    """The request of a screening."""
    from clipclean.jobs import screen

    return filled(screen.ScreenRequest, given, triggers=tuple(given["triggers"]))


@contextlib.contextmanager
def of_export(given: Given, /) -> Iterator["ExportRequest"]:
    """The request of an export; bundled pairs exist as long as the context lasts."""
    from clipclean import demo
    from clipclean.jobs import export

    with demo.unpacked() as bundled:
        yield filled(
            export.ExportRequest,
            given,
            data=given["data"] or bundled / demo.PAIRS,
            own=given["data"] is not None,
            wanted=_wanted(given),
            labels=given["labels"] or {},
        )


def recipe_of(given: Given, /) -> "Recipe":
    """The recipe with the values that are changed; raises UsageError."""
    from clipclean.config import recipe as recipes

    return recipes.chosen(
        given["recipe"],
        _changes(given),
        max_accuracy_loss=given["max_accuracy_loss"],
        max_minutes=given["max_minutes"],
    )


def _settings(given: Given) -> tuple[str, ...]:
    """The changed values, for any recipe."""
    from clipclean.config import recipe as recipes

    return recipes.with_budgets(_changes(given), max_accuracy_loss=given["max_accuracy_loss"], max_minutes=None)


def _changes(given: Given) -> list[str]:
    changes = given["overrides"]
    return [f"{key}={value}" for key, value in changes.items()] if isinstance(changes, Mapping) else list(changes)


def policy_of(given: Given, /) -> "Policy":
    """The policy, or the default one; raises UsageError."""
    from clipclean.config import policy as policies

    policy: Path | Policy | None = given.get("policy")
    if policy is None:
        return policies.DEFAULT
    return policies.load(policy) if isinstance(policy, Path) else policy


def _wanted(given: Given) -> "ExportOptions":
    from clipclean.export.formats import wanted

    return wanted(
        given["formats"],
        given["onnx_preset"],
        normalize=given["normalize"],
        fp16=given["fp16"],
        bom=given["bom"],
    )


def _path(value: object) -> object:
    return Path(value) if isinstance(value, str | PathLike) else value
