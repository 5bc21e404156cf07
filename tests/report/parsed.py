"""Reports as JSON objects in tests: what takes a report, or a part of one, is given the parsed one."""

from pydantic import BaseModel

from clipclean import report as ours
from clipclean.findings import Suppressed
from clipclean.schema.report import AutoRecord, FoundRecord, LossRecord, ProjectionRecord, SuspectRecord, WalkBackRecord

PARTS: dict[str, type[BaseModel]] = {  # a key that tells what an object is
    "family_words": FoundRecord,
    "candidates": AutoRecord,
    "way": WalkBackRecord,
    "loss": LossRecord,
    "points": ProjectionRecord,
    "expires": Suppressed,
    "score": SuspectRecord,
}


class Parsed:
    """A module whose functions take JSON objects as well."""

    def __init__(self, module):
        self.module = module

    def __getattr__(self, name):
        found = getattr(self.module, name)
        if name == "WRITERS":
            return {form: taking_json(function) for form, function in found.items()}
        if name in ("parse", "json_text") or not callable(found) or isinstance(found, type):
            return found
        return taking_json(found)


def taking_json(function):
    return lambda *given, **more: function(*(parsed(value) for value in given), **more)


def parsed(value):
    if isinstance(value, list):
        return [parsed(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if "schema_version" in value:
        return ours.parse(value)
    return next((part.model_validate(value) for key, part in PARTS.items() if key in value), value)


report = Parsed(ours)
