"""A folder that clipclean wrote, verified: files, records and weights must all agree. Nothing in it is executed, and no model is built."""

import contextlib
import importlib
import importlib.util
import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from clipclean import checkpoint, files, report, untrusted
from clipclean.errors import ClipcleanError, RefusedInput, UsageError
from clipclean.export import records
from clipclean.export.records import Json
from clipclean.jobs import opening

SIGNATURE_NAME = "model.sig"  # model_signing's own name for it
MAX_JSON = 32 * 2**20  # bytes of the statement; one with a whole recipe has about 20 kB
GET_AGAIN = "Export or download it again, from a source that you trust."
REPORT_NAME = "report.json"
WEIGHTS_SUFFIX = ".safetensors"  # how files of weights end whose tensors are read; a graph has folded and renamed ones
COMMANDS_BY_TYPE = {records.BUILD_TYPE.format(command=name): name for name in ("sanitize", "export")}

MismatchKind = Literal["mismatch", "unreadable"]


@dataclass(frozen=True)
class VerifyFinding:
    """One mismatch: two records contradict each other, or a file is not what it should be."""

    file: str
    check: str
    kind: MismatchKind
    message: str


@dataclass
class Verification:
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
        except (ClipcleanError, OSError) as error:
            words = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
            self.findings.append(VerifyFinding(file, check, "unreadable", words))


def verify(folder: Path, /, *, public_key: Path | None) -> Verification:
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
            "Install it from your checkout: pip install '.[signing]'."
        )
    digest_by_name = _sums_of(folder)
    result = Verification()
    present = _digests(folder, result)
    _checksums(digest_by_name, present, result)
    stated = _statement(folder, present, result)
    if stated is not None:
        _weights(folder, stated, present, result)
        _report(folder, stated, present, result)
    _signature(folder, public_key, result)
    return result


def _sums_of(folder: Path, /) -> dict[str, str]:
    """The entries of ``SHA256SUMS``."""
    try:
        if folder.is_dir():
            return records.parse(untrusted.read(folder / records.SUMS_NAME, limit=records.MAX_SUMS))
    except FileNotFoundError as error:
        raise RefusedInput(
            f"{folder} has no {records.SUMS_NAME}: nothing says what should be in it. Name a folder that sanitize or export wrote."
        ) from error
    except OSError as error:
        raise RefusedInput(f"Cannot read {folder / records.SUMS_NAME}: {error.strerror}.") from error
    except RefusedInput as error:
        raise RefusedInput(f"{folder}: {error} {GET_AGAIN}") from error
    kind = "is no folder" if os.path.lexists(folder) else "does not exist"
    raise RefusedInput(f"{folder} {kind}. Name the folder that sanitize or export wrote.")


def _digests(folder: Path, result: Verification, /) -> dict[str, str]:
    """The SHA-256 of each regular file below the folder; hidden files are left out and reported.

    No library loads a hidden file by itself, and ``.git`` or ``.cache`` belong to those who fetched the folder.
    """
    digests: dict[str, str] = {}
    hidden = 0
    for folder_name, folders, names in os.walk(folder):
        hidden += sum(name.startswith(".") for name in (*folders, *names))
        folders[:] = [name for name in folders if not name.startswith(".")]
        inner = set(folders)
        for name in (*folders, *sorted(name for name in names if not name.startswith("."))):
            path = Path(folder_name, name)
            relative, is_folder = path.relative_to(folder).as_posix(), name in inner
            if path.is_symlink():
                result.differs(relative, "checksums", "is a link: its target is outside the folder and can change")
            elif not is_folder and not path.is_file():
                result.differs(relative, "checksums", "is a device or a pipe, not a file")
            if not is_folder and path.is_file():
                with result.reading(relative, "checksums"):
                    digests[relative] = files.sha256(path)
    if hidden:
        result.notes.append(f"{hidden} hidden file(s) or folder(s) were not checked")
    return digests


def _checksums(digest_by_name: dict[str, str], present: dict[str, str], result: Verification, /) -> None:
    unread = {finding.file for finding in result.findings}
    for name, digest in digest_by_name.items():
        if name not in present and name not in unread:
            result.differs(name, "checksums", f"is listed in {records.SUMS_NAME} and missing")
        elif name in present and present[name] != digest:
            result.differs(name, "checksums", f"has sha256 {present[name]}, and {records.SUMS_NAME} says {digest}")
    for name in present.keys() - digest_by_name.keys() - {records.SUMS_NAME, SIGNATURE_NAME}:
        result.differs(name, "checksums", f"is not listed in {records.SUMS_NAME}, so nothing protects it")
    result.checked["checksums"] = f"{len(digest_by_name)} files"


def _statement(folder: Path, present: dict[str, str], result: Verification, /) -> Json | None:
    """The in-toto statement, if it can be read: it speaks of every file but the card, as it is."""
    name, check = records.STATEMENT_NAME, "statement"
    if name not in present:
        result.differs(name, check, "is missing: nothing says where the weights come from")
        return None
    stated: Json | None = None
    with result.reading(name, check):
        statement = untrusted.loads(untrusted.read(folder / name, limit=MAX_JSON), name, limit=MAX_JSON)
        kind = _at(statement, "predicate", "buildDefinition", "buildType")
        if str(kind) not in COMMANDS_BY_TYPE:
            raise RefusedInput(
                f"its buildType is {str(kind)[:80]!a}, and this version knows {', '.join(COMMANDS_BY_TYPE)}. Verify the folder with the "
                "version of clipclean that wrote it."
            )
        stated = statement
    if stated is None:
        return None
    # Earlier versions stated the card as well, which its owner may have written on since.
    subjects = {
        file: digest for file, digest in _digests_in(stated.get("subject")).items() if file != records.CARD_NAME
    }
    unread = {finding.file for finding in result.findings if finding.kind == "unreadable"}
    for file, digest in sorted(subjects.items()):
        if file not in present and file not in unread:
            result.differs(name, check, f"names {file[:200]!a}, which is missing")
        elif file in present and file not in unread and present[file] != digest:
            result.differs(file, check, f"has sha256 {present[file]}, and {name} says {digest[:64]}")
    for missing in sorted(present.keys() - subjects.keys() - {*records.NOT_STATED, SIGNATURE_NAME}):
        result.differs(name, check, f"says nothing of {missing}")
    if not _digests_in(stated.get("subject"), records.TENSOR_DIGEST):
        result.differs(name, check, "names no weights")
    if "model" not in _digests_in(_at(stated, "predicate", "buildDefinition", "resolvedDependencies"), "sha256"):
        result.differs(name, check, "does not say of which model the weights are")
    for key, expected in {"_type": records.STATEMENT_TYPE, "predicateType": records.PREDICATE_TYPE}.items():
        if stated.get(key) != expected:
            result.differs(name, check, f"{key} is {str(stated.get(key))[:80]!a} and should be {expected!a}")
    result.checked[check] = f"{_command(stated)}, {len(subjects)} files"
    return stated


def _command(stated: Json, /) -> str:
    """The command that wrote the folder."""
    return COMMANDS_BY_TYPE[str(_at(stated, "predicate", "buildDefinition", "buildType"))]


def _at(value: object, /, *keys: str) -> object:
    """The JSON value below these nested keys; None if the JSON has another shape."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _digests_in(descriptors: object, kind: str = "sha256", /) -> dict[str, str]:
    """Digests of a kind by name, of what has the shape of in-toto's resource descriptors."""
    entries = descriptors if isinstance(descriptors, list) else []
    digests = {str(_at(entry, "name")): _at(entry, "digest", kind) for entry in entries}
    return {name: str(digest) for name, digest in digests.items() if digest is not None or kind == "sha256"}


def _weights(folder: Path, stated: Json, present: dict[str, str], result: Verification, /) -> None:
    """Every file of weights is read as data, and its tensors have the digest of the statement."""
    stated_digests = _digests_in(stated.get("subject"), records.TENSOR_DIGEST)
    read = []
    expected = {name for name in (*present, *stated_digests) if name.endswith(WEIGHTS_SUFFIX)}
    for name in sorted(expected - present.keys()):
        if not os.path.lexists(folder / name):
            result.differs(name, "weights", "is missing")
    for name in sorted(expected & present.keys()):
        with result.reading(name, "weights"):
            # Those of a CLIP that can be built.
            digest = checkpoint.digest(opening.read(folder / name, arch=None, is_judged=False).file.tensors)
            read.append(name)
            if digest != stated_digests.get(name):
                says = f"{records.STATEMENT_NAME} says {str(stated_digests.get(name))[:64]}"
                result.differs(name, "weights", f"its tensors have the digest {digest}, and {says}")
    if read:
        result.checked["weights"] = ", ".join(read)


def _report(folder: Path, stated: Json, present: dict[str, str], result: Verification, /) -> None:
    """The report of a sanitizing run: the statement is the one that follows from it."""
    name, check = REPORT_NAME, "report"
    if name not in present:
        if _command(stated) == "sanitize":
            result.differs(name, check, "is missing, and the weights come from sanitize")
        return
    with result.reading(name, check):
        stored = report.read(folder / name)
        try:
            again = records.statement(stored.as_json(), digests=_digests_in(stated.get("subject")))
        except (LookupError, TypeError, AttributeError) as error:  # it holds less than any run writes
            raise RefusedInput(f"it lacks fields that every run writes: {str(error)[:80]!a}.") from error
        for key in _differing(json.loads(again), stated):
            result.differs(name, check, f"tells another {key} than {records.STATEMENT_NAME}")
        share = (
            f", weights at {stored.cleaning.share:g} of the way from the original to the cleaned ones"
            if stored.cleaning
            else ""
        )
        result.checked[check] = f"verdict {stored.verdict}{share}"


def _differing(ours: object, theirs: object, /, at: str = "") -> Iterator[str]:
    """The dotted keys under which two JSON values differ."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in sorted(ours.keys() | theirs.keys()):
            yield from _differing(ours.get(key), theirs.get(key), f"{at}.{key}" if at else key)
    elif ours != theirs:
        yield at[:200]


def _signature(folder: Path, public_key: Path | None, result: Verification, /) -> None:
    """The signature by model-signing, which covers every file of the folder, if the key is given.

    Raises:
        UsageError: the key is no public key.
    """
    path = folder / SIGNATURE_NAME
    if public_key is None:
        unchecked = f"{SIGNATURE_NAME} was not checked: give the signer's key by --public-key"
        there = unchecked if path.is_file() else "not signed"
        result.notes.append(f"{there}; checksums show that a folder is whole, not who made it")
        return
    if not path.is_file():
        result.differs(SIGNATURE_NAME, "signature", "is missing, and a key was given to check it with")
        return
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
        result.differs(SIGNATURE_NAME, "signature", f"does not hold: {str(error)[:500] or type(error).__name__}")
    else:
        result.checked["signature"] = f"by the key in {public_key.name}"
