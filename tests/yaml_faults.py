"""What is said of a recipe or a policy that is none, and of their keys."""

import os

import pytest

from clipclean.errors import UsageError


def refusal(load, source):
    with pytest.raises(UsageError) as caught:
        load(source)
    return str(caught.value)


def problems(load, source):
    """The lines of a refusal, without the file's folder."""
    return [line.removeprefix(f"{source.parent}{os.sep}") for line in refusal(load, source).split("\n")]


def unexplained(schema):
    """Keys without a sentence or a unit."""
    keys = [item for section in (schema, *schema["$defs"].values()) for item in section["properties"].items()]
    return [name for name, entry in keys if not (entry["description"].endswith(".") and entry["unit"])]
