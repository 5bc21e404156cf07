"""JSON objects from untrusted bytes."""

import json

from clipclean.errors import RefusedInput


def loads(data: bytes, what: str, /, *, limit: int) -> dict[str, object]:
    """The object that ``data`` spells, at most ``limit`` bytes of it.

    Stricter than ``json.loads``: a repeated key is refused (readers differ in which value wins), and so are NaN and
    Infinity. ``what`` names the document in messages.

    Raises:
        RefusedInput: it is too large, not UTF-8, not JSON, nested too deeply, repeats a key or is not an object.
    """
    if len(data) > limit:
        raise RefusedInput(f"{what} has {len(data):,} bytes; no honest one needs more than {limit:,}.")
    try:
        parsed = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError as error:
        raise RefusedInput(f"{what} is nested too deeply to be a description of a model.") from error
    except ValueError as error:  # covers JSONDecodeError, UnicodeDecodeError and numbers with thousands of digits
        raise RefusedInput(f"{what} is not valid JSON: {error}.") from error
    if not isinstance(parsed, dict):
        raise RefusedInput(f"{what} is JSON, but not an object with named fields.")
    return parsed


def _unique(pairs: list[tuple[str, object]], /) -> dict[str, object]:
    """A dict of pairs that has no key twice."""
    unique = dict(pairs)
    if len(unique) < len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value] # set.add returns None, on purpose
        raise ValueError(f"the key {repeated[:80]!a} appears twice")
    return unique


def _no_constant(text: str, /) -> object:
    """Refuse NaN and Infinity, which JSON does not have."""
    raise ValueError(f"{text} is not a JSON number")
