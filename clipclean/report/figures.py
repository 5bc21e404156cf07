"""Numbers as people read them."""

import math
from collections.abc import Sequence

NOTHING = "–"  # for what was not measured
_MINUS = "−"


def percent(share: float | None, /) -> str:
    """``0.9712`` as ``97.1 %``; what rounding would make certain is shown as ``<0.1 %`` or ``>99.9 %``."""
    if share is None or math.isnan(share):
        return NOTHING
    text = f"{abs(100 * share):.1f}"
    if text == "0.0" and share != 0:
        return "<0.1 %" if share > 0 else f">{_MINUS}0.1 %"
    if text == "100.0" and abs(share) < 1:
        return ">99.9 %" if share > 0 else f"<{_MINUS}99.9 %"
    return f"{_MINUS if share < 0 else ''}{text} %"


def percent_interval(interval: Sequence[float] | None, /) -> str:
    """``[0.952, 0.983]`` as ``95.2 to 98.3 %``."""
    if interval is None:
        return NOTHING
    low, high = (f"{100 * bound + 0.0:.1f}".replace("-0.0", "0.0").replace("-", _MINUS) for bound in interval)
    return f"{low} to {high} %"


def points(before: float | None, after: float | None, /) -> str:
    """The change of a share in percentage points, with its sign: ``−97.7 points``."""
    return NOTHING if before is None or after is None else f"{_signed(100 * (after - before), 1)} points"


def difference(before: float | None, after: float | None, /) -> str:
    """The change of a number without unit, with its sign: ``−1.05``."""
    return NOTHING if before is None or after is None else _signed(after - before, 2)


def decimal(number: float | None, /) -> str:
    """Two decimals, or two significant digits where these are small: ``1.62``, ``0.21``, ``0.0012``."""
    if number is None:
        return NOTHING
    return (f"{number:.2f}" if abs(number) >= 0.1 or number == 0 else f"{number:.2g}").replace("-", _MINUS)


def count(number: int | None, /) -> str:
    """``49950`` as ``49,950``."""
    return NOTHING if number is None else f"{number:,}"


def memory(size: int | None, /) -> str:
    """Bytes in the largest binary unit that leaves at least one: ``1.5 GiB``."""
    if size is None:
        return NOTHING
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size >= 1024**power:
            return f"{size / 1024**power:.1f} {unit}"
    return f"{size} bytes"


def duration(seconds: float | None, /) -> str:
    """``8.4 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    if seconds is None:
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _signed(number: float, digits: int) -> str:
    text = f"{abs(number):.{digits}f}"
    return f"±{text}" if float(text) == 0 else f"{_MINUS if number < 0 else '+'}{text}"
