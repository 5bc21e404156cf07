"""Captions, names and records as plain, bounded, printable text."""

import re
from typing import Any

from clipclean import untrusted

CAPTION_BYTES = 10_000  # UTF-8; a tokenizer reads the first few hundred
TEXT_BYTES = 1_000_000  # one sidecar file, one line of a table

# Controls that are not white space, bidirectional overrides, byte-order marks, halves of surrogate pairs.
_UNWANTED = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def caption(text: str, /) -> str:
    r"""A caption on one line: control characters out, white space collapsed, cut to 10 kB of UTF-8.

    Example:
        >>> caption(" a\tdog\x1b[2J\n runs ")
        'a dog[2J runs'
    """
    line = " ".join(_UNWANTED.sub("", text).split())
    return line.encode()[:CAPTION_BYTES].decode(errors="ignore").rstrip()


def utf8(data: bytes, /) -> str:
    """Text of UTF-8 bytes, with or without a byte-order mark; raises UnicodeDecodeError."""
    return data.decode("utf-8-sig")


def record(text: str, /) -> dict[str, Any]:
    """The JSON object in a text of at most ``TEXT_BYTES`` characters.

    Returns:
        JSON values by key; any of them, so ``Any``.

    Raises:
        ValueError: too long, not JSON, nested too deeply, or not an object.
    """
    if len(text) > TEXT_BYTES:
        raise ValueError(f"a JSON record of more than {TEXT_BYTES:,} characters")
    try:
        found = untrusted.value(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(found, dict):
        raise ValueError("JSON, but not an object")
    return found
