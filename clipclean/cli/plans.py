"""What ``--dry-run`` prints: what would be done, and what it would take."""

import json
from typing import TYPE_CHECKING, Any

import click

from clipclean.untrusted import printable

if TYPE_CHECKING:
    from clipclean.jobs.plan import Plan


def show(given: dict[str, Any], plan: "Plan", /) -> int:
    """Print a plan as text, or as JSON where that was asked for; returns the exit code."""
    click.echo(json.dumps(as_json(plan), indent=2) if given["as_json"] else text(plan))
    return 0


def text(plan: "Plan", /) -> str:
    """A line for each fact and each step."""
    rows = [
        *plan.facts.items(),
        *((f"step {number}", step) for number, step in enumerate(plan.steps, 1)),
        ("writes", ", ".join(plan.writes) or "nothing but what --output names"),
        ("estimate", str(plan.estimate)),
        *([("faster", ", ".join(plan.faster))] if plan.faster else []),
        ("dry run", "nothing was measured or written"),
    ]
    return "\n".join(f"{name:10}{printable(words)}" for name, words in rows)


def as_json(plan: "Plan", /) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "dry_run": True, **plan.facts, "steps": list(plan.steps), "writes": list(plan.writes),
        "estimate": {"seconds": round(plan.estimate.seconds, 1), "memory_bytes": plan.estimate.memory},
        "faster": list(plan.faster),
    }  # fmt: skip
