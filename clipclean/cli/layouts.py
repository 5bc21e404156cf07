"""Options for the layouts of weights as one value."""

from typing import Any

from clipclean.errors import UsageError
from clipclean.export.layout import Wanted


def wanted(given: dict[str, Any], /) -> Wanted:
    """The layouts that were asked for; raises UsageError for a setting of a layout that was not."""
    names = tuple(dict.fromkeys(given["formats"]))
    if "onnx" not in names and (given["normalize"] or given["fp16"]):
        raise UsageError("--normalize and --fp16 are of the ONNX layout. Add --format onnx, or leave them out.")
    return Wanted(names, given["onnx_preset"], normalise=given["normalize"], fp16=given["fp16"], bom=given["bom"])
