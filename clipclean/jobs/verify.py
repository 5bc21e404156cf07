"""Verifying a folder that clipclean wrote: files, records and weights must all agree."""

import contextlib
import functools
import importlib
import importlib.util
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from clipclean import __version__, checkpoint, files, report, untrusted
from clipclean.errors import ClipcleanError, RefusedInput, UsageError
from clipclean.export import bom, checksums, formats, model_card, provenance, records, statement
from clipclean.jobs import inputs, rendered

SIGNATURE = "model.sig"  # model_signing's own name for it
MAX_JSON = 32 * 2**20  # bytes of one record; a provenance with every finding has about 200 kB
WAY_OUT = "Export or download it again, from a source that you trust."
REPORTS = ("report.json", "report.html")  # of sanitize; they tell the time, and are no outputs of the provenance

Kind = Literal["mismatch", "unreadable"]


@dataclass(frozen=True)
class VerifyFinding:
    """One mismatch: two records contradict each other, or a file is not what it should be."""

    file: str
    check: str
    kind: Kind
    message: str


@dataclass
class Result:
    """The checks by name, with their objects; the findings; and the parts left unchecked."""

    checked: dict[str, str] = field(default_factory=dict)
    findings: list[VerifyFinding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 for an intact folder, 1 for one that contradicts itself, 3 if something could not be read."""
        kinds = {finding.kind for finding in self.findings}
        return 1 if "mismatch" in kinds else 3 if kinds else 0

    def differs(self, file: str, check: str, message: str, /) -> None:
        """Note a mismatch."""
        self.findings.append(VerifyFinding(file, check, "mismatch", message))

    @contextlib.contextmanager
    def reading(self, file: str, check: str, /) -> Iterator[None]:
        """Turn a reader's refusal into a finding."""
        try:
            yield
        except ClipcleanError as error:
            self.findings.append(VerifyFinding(file, check, "unreadable", str(error)))


def verify(folder: Path, /, *, public_key: Path | None) -> Result:
    """Check a folder that ``sanitize`` or ``export`` wrote; nothing in it is executed.

    Checksums beside the files show that the folder is intact, not who made it: whoever can change a file can change all of
    them. Only a signature shows that, checked with a key that came another way.

    Args:
        folder: the folder.
        public_key: of the signer, in PEM; with None a signature stays unchecked, and the result says so.

    Raises:
        RefusedInput: it is no folder, or has no readable ``SHA256SUMS``: nothing says what should be in it.
        UsageError: a key is given, and model-signing is not installed.
    """
    if public_key is not None and importlib.util.find_spec("model_signing") is None:
        raise UsageError(
            "Checking a signature needs model-signing, which this installation lacks. "
            "Install the extra: pip install 'clip-sanitizer[signing]'."
        )
    listed = _listed(folder)
    result = Result()
    present = _digests(folder, result)
    _checksums(listed, present, result)
    record = _provenance(folder, present, result)
    if record is not None:
        _statement(folder, record, present, result)
        _weights(folder, record, present, result)
        _bill(folder, record, present, result)
        found = _report(folder, record, present, result)
        _rendered(folder, record, found, present, result)
    _signature(folder, public_key, result)
    return result


def _listed(folder: Path, /) -> dict[str, str]:
    """The entries of ``SHA256SUMS``."""
    listed = None
    try:
        if folder.is_dir():
            listed = untrusted.read(folder / checksums.NAME, limit=checksums.MAX_BYTES)
    except FileNotFoundError as error:
        raise RefusedInput(
            f"{folder} has no {checksums.NAME}: nothing says what should be in it. Name a folder that sanitize or export wrote."
        ) from error
    except OSError as error:
        raise RefusedInput(f"Cannot read {folder / checksums.NAME}: {error.strerror}.") from error
    if listed is None:
        kind = "is no folder" if os.path.lexists(folder) else "does not exist"
        raise RefusedInput(f"{folder} {kind}. Name the folder that sanitize or export wrote.")
    try:
        return checksums.parse(listed)
    except RefusedInput as error:
        raise RefusedInput(f"{folder}: {error} {WAY_OUT}") from error


def _digests(folder: Path, result: Result, /) -> dict[str, str]:
    """The SHA-256 of each regular file below the folder; hidden files are left out and reported.

    No library loads a hidden file by itself, and ``.git`` or ``.cache`` belong to those who fetched the folder.
    """
    found: dict[str, str] = {}
    hidden = 0
    for place, folders, names in os.walk(folder):
        for name in [*folders]:
            path = Path(place, name)
            if name.startswith("."):
                hidden += 1
                folders.remove(name)
            elif path.is_symlink():
                result.differs(path.relative_to(folder).as_posix(), "checksums", "is a link to another folder")
        for name in sorted(names):
            path = Path(place, name)
            relative = path.relative_to(folder).as_posix()
            if name.startswith("."):
                hidden += 1
            elif path.is_symlink():
                result.differs(relative, "checksums", "is a link: its target is outside the folder and can change")
                if path.is_file():
                    found[relative] = files.sha256(path)
            elif not path.is_file():
                result.differs(relative, "checksums", "is a device or a pipe, not a file")
            else:
                try:
                    found[relative] = files.sha256(path)
                except OSError as error:
                    reason = f"cannot be read: {error.strerror}"
                    result.findings.append(VerifyFinding(relative, "checksums", "unreadable", reason))
    if hidden:
        result.notes.append(f"{hidden} hidden file(s) or folder(s) were not checked")
    return found


def _checksums(listed: dict[str, str], present: dict[str, str], result: Result, /) -> None:
    unread = {finding.file for finding in result.findings}
    for name, digest in listed.items():
        if name not in present and name not in unread:
            result.differs(name, "checksums", f"is listed in {checksums.NAME} and missing")
        elif name in present and present[name] != digest:
            result.differs(name, "checksums", f"has sha256 {present[name]}, and {checksums.NAME} says {digest}")
    for name in present.keys() - listed.keys() - {checksums.NAME, SIGNATURE}:
        result.differs(name, "checksums", f"is not listed in {checksums.NAME}, so nothing protects it")
    result.checked["checksums"] = f"{len(listed)} files"


def _json(folder: Path, name: str, /) -> dict[str, object]:
    """A JSON object from a file that may be anything."""
    try:
        return untrusted.loads(untrusted.read(folder / name, limit=MAX_JSON), name, limit=MAX_JSON)
    except OSError as error:
        raise RefusedInput(f"it cannot be read: {error.strerror}.") from error


def _provenance(folder: Path, present: dict[str, str], result: Result, /) -> provenance.Provenance | None:
    """The record, if it can be read; its outputs are compared with the files."""
    name, check = provenance.NAME, "provenance"
    if name not in present:
        result.differs(name, check, "is missing: nothing says where the weights come from")
        return None
    record = None
    with result.reading(name, check):
        record = provenance.parse(_json(folder, name))
    if record is None:
        return None
    _hold(record.outputs, present, result, file=name, check=check)
    for entry in record.exports:
        if record.outputs.get(entry.path) != entry.sha256:
            result.differs(name, check, f"tells two digests of {entry.path}, as an export and as an output")
    allowed = {*record.outputs, *records.FILES, *REPORTS, SIGNATURE}
    for other in sorted(present.keys() - allowed):
        result.differs(other, check, f"is not among the outputs that {name} names")
    if not record.exports:
        result.differs(name, check, "names no weights")
    result.checked[check] = f"{record.command} by clipclean {record.tool.version}, {len(record.outputs)} outputs"
    return record


def _hold(claimed: dict[str, str], present: dict[str, str], result: Result, /, *, file: str, check: str) -> None:
    """Compare digests of a record with those of the files; messages name both."""
    unread = {finding.file for finding in result.findings if finding.kind == "unreadable"}
    for name, digest in sorted(claimed.items()):
        if name in unread:
            continue
        if name not in present:
            result.differs(file, check, f"names {name[:200]!a}, which is missing")
        elif present[name] != digest:
            result.differs(name, check, f"has sha256 {present[name]}, and {file} says {digest[:64]}")


def _statement(folder: Path, record: provenance.Provenance, present: dict[str, str], result: Result, /) -> None:
    """The in-toto statement speaks of the same files, the same model and this record."""
    name, check = statement.NAME, "statement"
    if name not in present:
        result.differs(name, check, "is missing")
        return
    found: dict[str, object] | None = None
    with result.reading(name, check):
        found = _json(folder, name)
    if found is None:
        return
    subjects = _descriptors(found.get("subject"))
    _hold(subjects, present, result, file=name, check=check)
    for missing in sorted((record.outputs.keys() | present.keys()) - subjects.keys() - {*records.UNSTATED, SIGNATURE}):
        result.differs(name, check, f"says nothing of {missing}")
    inputs = _descriptors(_at(found, "predicate", "buildDefinition", "resolvedDependencies"))
    _compare(
        {
            "_type": (found.get("_type"), statement.STATEMENT),
            "predicateType": (found.get("predicateType"), statement.PREDICATE),
            "the digest of the model": (inputs.get("model"), record.input.sha256),
            "the digest of the record": (
                _descriptors(_at(found, "predicate", "runDetails", "byproducts")).get(provenance.NAME),
                present[provenance.NAME],
            ),
        },
        result,
        file=name,
        check=check,
    )
    result.checked[check] = f"{len(subjects)} subjects"


def _compare(told: dict[str, tuple[object, object]], result: Result, /, *, file: str, check: str) -> None:
    """Note each pair of which the file's own value, the first, is not the expected one."""
    for key, (here, expected) in told.items():
        if here != expected:
            result.differs(file, check, f"{key} is {str(here)[:80]!a} and should be {str(expected)[:80]!a}")


def _at(value: object, /, *keys: str) -> object:
    """The JSON value below these nested keys; None if the JSON has another shape."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _descriptors(listed: object, /) -> dict[str, str]:
    """SHA-256 by name, of what has the shape of in-toto's resource descriptors."""
    entries = listed if isinstance(listed, list) else []
    return {str(_at(entry, "name")): str(_at(entry, "digest", "sha256")) for entry in entries}


def _weights(folder: Path, record: provenance.Provenance, present: dict[str, str], result: Result, /) -> None:
    """Every file of weights is read as data, and its tensors have the digest of the record."""
    for entry in record.exports:
        if entry.path not in present:
            continue
        with result.reading(entry.path, "weights"):
            read = formats.FORMATS[entry.format].recorded_digest or _tensors
            digest = read(folder / entry.path)
            if digest != entry.tensor_sha256:
                told = f"{provenance.NAME} says {entry.tensor_sha256}"
                result.differs(entry.path, "weights", f"its tensors have the digest {digest}, and {told}")
    result.checked["weights"] = ", ".join(entry.path for entry in record.exports)


def _tensors(path: Path, /) -> str:
    """The digest of the tensors of a checkpoint, which are those of a CLIP that can be built."""
    opened = inputs.read(path, arch=None)
    return checkpoint.digest(opened.file.tensors)


def _bill(folder: Path, record: provenance.Provenance, present: dict[str, str], result: Result, /) -> None:
    """A bill of materials, if there is one, lists the same files and the same model."""
    name, check = bom.NAME, "bill of materials"
    if name not in present:
        return
    with result.reading(name, check):
        found = _json(folder, name)
        components = found.get("components")
        parts = [part for part in components if _at(part, "type") == "file"] if isinstance(components, list) else []
        _hold({str(_at(part, "name")): _hash(part) for part in parts}, present, result, file=name, check=check)
        ancestors = _at(found, "metadata", "component", "pedigree", "ancestors")
        source = _hash(ancestors[0]) if isinstance(ancestors, list) and ancestors else None
        _compare(
            {
                "bomFormat": (found.get("bomFormat"), "CycloneDX"),
                "the number of files": (len(parts), len(record.outputs)),
                "the digest of the model": (source, record.input.sha256),
            },
            result,
            file=name,
            check=check,
        )
        result.checked[check] = f"CycloneDX {str(found.get('specVersion'))[:8]}, {len(parts)} files"


def _hash(component: object, /) -> str:
    """The first hash of a CycloneDX component."""
    hashes = _at(component, "hashes")
    return str(_at(hashes[0], "content")) if isinstance(hashes, list) and hashes else ""


def _report(
    folder: Path, record: provenance.Provenance, present: dict[str, str], result: Result, /
) -> report.Report | None:
    """The report of a sanitizing run: it agrees with the record on model, verdict, exports, and all else."""
    name, check = REPORTS[0], "report"
    if name not in present:
        if record.command == "sanitize":
            result.differs(name, check, "is missing, and the weights come from sanitize")
        return None
    found: report.Report | None = None
    with result.reading(name, check):
        found = report.read(folder / name)
        _compare(
            {
                "model.sha256": (found.model.sha256, record.input.sha256),
                "verdict": (found.verdict, record.verdict),
                "exports": (
                    [(entry.path, entry.sha256) for entry in found.exports or ()],
                    [(entry.path, entry.sha256) for entry in record.exports],
                ),
            },
            result,
            file=name,
            check=check,
        )
        try:
            again = provenance.record(found.as_json(), outputs=record.outputs).model_dump()
        except (LookupError, TypeError, AttributeError) as error:  # it holds less than any run writes
            raise RefusedInput(f"it lacks fields that every run writes: {str(error)[:80]!a}.") from error
        for key in sorted(key for key, value in record.model_dump().items() if again[key] != value):
            result.differs(name, check, f"tells another {key} than {provenance.NAME}")
        result.checked[check] = f"verdict {found.verdict}"
    return found


def _rendered(
    folder: Path,
    record: provenance.Provenance,
    found: report.Report | None,
    present: dict[str, str],
    result: Result,
    /,
) -> None:
    """The page and the model card equal those that are rendered again from the report and the record."""
    check = "rendered"
    if record.tool.version != __version__:
        told = f"clipclean {record.tool.version} wrote report.html and README.md, and this is {__version__}"
        result.notes.append(f"{told}: they were not made once more and compared")
        return
    page, card = REPORTS[1], model_card.NAME
    source = found.as_json() if found else rendered.as_report(record)
    same: dict[str, Callable[[str], bool]] = {card: functools.partial(rendered.same_card, found=source)}
    if found:
        same[page] = functools.partial(rendered.same_page, found=found)
    elif page in present:
        result.differs(page, check, "has no report.json beside it, so its content cannot be checked")
    for name, is_same in same.items():
        if name not in present:
            result.differs(name, check, "is missing")
            continue
        origin = REPORTS[0] if found else provenance.NAME
        with result.reading(name, check):
            text = _text(folder, name)
            try:
                if not is_same(text):
                    result.differs(name, check, f"is not what {origin} gives")
            except (LookupError, TypeError, ValueError, AttributeError):  # it holds less than any run writes
                result.differs(
                    name, check, f"cannot be rendered from {origin}, which lacks fields that every run writes"
                )
    result.checked[check] = ", ".join(name for name in same if name in present)


def _text(folder: Path, name: str, /) -> str:
    """The text of a file that may be anything."""
    try:
        return untrusted.read(folder / name, limit=MAX_JSON).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedInput(f"it cannot be read: {error}.") from error


def _signature(folder: Path, public_key: Path | None, result: Result, /) -> None:
    """The signature by model-signing, which covers every file of the folder, if the key is given."""
    path = folder / SIGNATURE
    if public_key is None:
        there = (
            f"{SIGNATURE} was not checked: give the signer's key by --public-key" if path.is_file() else "not signed"
        )
        result.notes.append(f"{there}; checksums show that a folder is whole, not who made it")
        return
    if not path.is_file():
        result.differs(SIGNATURE, "signature", "is missing, and a key was given to check it with")
        return
    if problem := _signature_problem(folder, path, public_key):
        result.differs(SIGNATURE, "signature", problem)
    else:
        result.checked["signature"] = f"by the key in {public_key.name}"


def _signature_problem(folder: Path, path: Path, public_key: Path, /) -> str | None:
    """Why the signature is invalid, in the library's words; None if it is valid.

    Raises:
        UsageError: the key is no public key.
    """
    library: Any = importlib.import_module("model_signing.verifying")  # optional, and without types for its parts
    try:
        verifier = library.Config().use_elliptic_key_verifier(public_key=public_key)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--public-key {public_key} is not a public key that model-signing accepts: {error}."
        ) from error
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints warnings there
            verifier.verify(folder, path)
    except Exception as error:  # the library's own are of many kinds, and any of them means: not verified
        return f"does not hold: {str(error)[:500] or type(error).__name__}"
    return None
