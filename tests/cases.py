"""One fact over a whole table, as one test: every row is tried, and a failure names each row that fails."""

import functools
import inspect
import traceback
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

SHOWN = 5  # tracebacks of one failure; all failed rows are named


def each(names: str | tuple[str, ...], table: Collection[Any], /, *, ids: Callable[[Any], object] = str) -> Any:
    """Give a test each row of a table in turn, like ``pytest.mark.parametrize``, but as one test.

    Fixtures are made once for all rows, with three exceptions: ``tmp_path`` is a new folder for each row, ``monkeypatch`` is undone
    after each, and what ``capsys`` heard before a row is forgotten.

    Args:
        names: the parameter that takes a row, or those that share one.
        table: the rows; at least one.
        ids: the name of a row, or of a row's parts.
    """

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(test)
        own = (names,) if isinstance(names, str) else names

        @functools.wraps(test)
        def over_all(**fixtures: Any) -> None:
            failed = {}
            for number, row in enumerate(table):
                values = dict(zip(own, (row,) if isinstance(names, str) else row, strict=True))
                name = ", ".join(str(ids(value)) for value in values.values())
                try:
                    with pytest.MonkeyPatch.context() as patch:
                        test(**_of_its_own(fixtures, number, patch), **values)
                except (Exception, pytest.fail.Exception) as error:
                    failed[name[:200]] = "".join(traceback.format_exception(error))
            assert table, "the table is empty"
            if failed:
                shown = [f"--- {name!r}\n{trace}" for name, trace in list(failed.items())[:SHOWN]]
                told = f"{len(failed)} of {len(table)} cases fail: {', '.join(map(repr, failed))}"
                pytest.fail("\n".join([told, *shown]), pytrace=False)

        over_all.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[parameter for name, parameter in signature.parameters.items() if name not in own]
        )
        return over_all

    return decorate


def _of_its_own(fixtures: dict[str, Any], number: int, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The fixtures of a test, with those replaced that each row needs for itself."""
    fixtures = dict(fixtures)
    if "tmp_path" in fixtures:
        own: Path = fixtures["tmp_path"] / str(number)
        own.mkdir()
        fixtures["tmp_path"] = own
    if "monkeypatch" in fixtures:
        fixtures["monkeypatch"] = patch
    if "capsys" in fixtures:
        fixtures["capsys"].readouterr()
    return fixtures
