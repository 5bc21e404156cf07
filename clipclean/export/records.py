"""The records beside the weights: checksums, an in-toto statement and a model card, written in the order in which they refer to each other.

``SHA256SUMS`` has the digest of every file below a folder, as ``sha256sum`` writes and checks it. ``provenance.intoto.json`` says where
the folder comes from, as an in-toto statement for signing tools and policy engines. Source: in-toto Attestation Framework, Statement
v1; SLSA v1.0, Build Provenance. It is not signed: a statement becomes an attestation when somebody signs it. ``README.md`` is a model
card with results and loading instructions.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from clipclean import files, machine
from clipclean.errors import RefusedInput
from clipclean.export import formats
from clipclean.schema.part import plain

Json = dict[str, Any]  # Any: JSON whose shape the schema of the report holds

SUMS_NAME = "SHA256SUMS"
MAX_SUMS = 2**20  # bytes of the list; a folder of ours has at most thirty files
SUMS_LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>[^\x00-\x1f\x7f\\]+)")
STATEMENT_NAME = "provenance.intoto.json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:x-clipclean:{command}:2"
DATA_DIGEST = "clipcleanPairs"  # not of a file: over the sorted digests of images and their captions
TENSOR_DIGEST = "clipcleanTensors"  # of what is in a file of weights: the same in every layout
FORMER_NAMES = ("provenance.json", "bom.cdx.json")  # of earlier versions: a new run into their folder replaces them
CARD_NAME = "README.md"
# No subjects of the statement: the card is for its owner to write on.
NOT_STATED = (CARD_NAME, STATEMENT_NAME, SUMS_NAME)
RECORD_FILES = (*NOT_STATED, *FORMER_NAMES)
AUDITED_LINES = (
    "Definitions, intervals and findings are in `report.json`; where the weights come from in `provenance.intoto.json`.",
    "What was not probed for is not cleared: see the findings.",
)
NOT_AUDITED_LINES = (
    "The weights were rewritten and compared, not audited or changed: a backdoor would have been exported like everything",
    "else. Where they come from is in `provenance.intoto.json`.",
)


def write(folder: Path, report: Json, /) -> None:
    """Write the model card, the in-toto statement about every other file than these, and the checksums of all.

    Args:
        folder: where the weights and whatever else belongs to the run stand already.
        report: of the run; what ``export`` tells has the same words, and no verdict.
    """
    files.write_text(folder / CARD_NAME, model_card(report))
    known = digests(folder)
    stated = {name: digest for name, digest in known.items() if name not in NOT_STATED}
    files.write_text(folder / STATEMENT_NAME, statement(report, digests=stated))
    files.write_text(folder / SUMS_NAME, _listing(known | {STATEMENT_NAME: files.sha256(folder / STATEMENT_NAME)}))


def write_checksums(folder: Path, /) -> None:
    """Write the checksums of all that stands in a folder: they also say what a later run may replace."""
    files.write_text(folder / SUMS_NAME, sums(folder))


def digests(folder: Path, /) -> dict[str, str]:
    """The SHA-256 of every file below the folder but ``SHA256SUMS``, by its name relative to it."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name: files.sha256(folder / name) for name in names if name != SUMS_NAME}


def sums(folder: Path, /) -> str:
    """The list over every file below the folder, sorted by name."""
    return _listing(digests(folder))


def _listing(digest_by_name: Mapping[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digest_by_name.items()))


def parse(listing: bytes, /) -> dict[str, str]:
    """Digests by name, of a list that may be anything.

    Raises:
        RefusedInput: it is too long or no such list, names a file twice, or names one outside the folder.
    """
    if len(listing) > MAX_SUMS:
        raise RefusedInput(f"{SUMS_NAME} has {len(listing):,} bytes; no honest one needs more than {MAX_SUMS:,}.")
    digests: dict[str, str] = {}
    for number, line in enumerate(listing.decode("utf-8", "backslashreplace").splitlines(), start=1):
        match = SUMS_LINE.fullmatch(line)
        if match is None:
            raise RefusedInput(f"{SUMS_NAME}, line {number}, is no digest with a name: {line[:80]!a}.")
        name = match["name"]
        if str(PurePosixPath(name)) != name or name.startswith("/") or ".." in name.split("/"):  # or another spelling
            raise RefusedInput(f"{SUMS_NAME}, line {number}, names a file outside its folder: {name[:80]!a}.")
        if name in digests:
            raise RefusedInput(f"{SUMS_NAME}, line {number}, names a file for the second time: {name[:80]!a}.")
        digests[name] = match["digest"]
    if not digests:
        raise RefusedInput(f"{SUMS_NAME} is empty, so it protects nothing.")
    return digests


def statement(report: Json, /, *, digests: Mapping[str, str]) -> str:
    """The statement about every file of a folder, as JSON.

    Args:
        report: of the run; what ``export`` tells has the same words, and neither recipe nor verdict.
        digests: SHA-256 by name of the files, all but the card, the statement and the checksums.
    """
    verdict = report.get("verdict")
    walk = report.get("cleaning") or {}
    share = {"clipclean_share": walk["share"]} if "budget" in walk else {}  # earlier versions did not state it
    tensors = {entry["path"]: {TENSOR_DIGEST: entry["tensor_sha256"]} for entry in report["exports"]}
    content = {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": {"sha256": digest, **tensors.get(name, {})}}
            for name, digest in sorted(digests.items())
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE.format(command=report["command"]),
                "externalParameters": {
                    "command": report["command"],
                    "model": report["model"]["name"],
                    "data": report["data"]["name"],
                    "formats": list(dict.fromkeys(entry["format"] for entry in report["exports"])),
                    **{
                        key: report[key]
                        for key in ("recipe", "policy", "seed", "labels")
                        if report.get(key) is not None
                    },
                },
                "internalParameters": {"environment": report["environment"]},
                "resolvedDependencies": _dependencies(report),
            },
            "runDetails": {
                "builder": {
                    "id": f"pkg:pypi/clip-sanitizer@{report['tool']['version']}",
                    "version": {"clipclean": report["tool"]["version"]},
                },
                **({"metadata": {"clipclean_verdict": verdict, **share}} if verdict else {}),
            },
        },
    }
    return json.dumps(plain(content), indent=2, allow_nan=False) + "\n"


def _dependencies(report: Json, /) -> list[Json]:
    """The model, the data, and the packages that could change the result, as package URLs, with names normalised for these."""
    model, data = report["model"], report["data"]
    return [
        {
            "name": "model",
            "digest": {"sha256": model["sha256"], TENSOR_DIGEST: model["tensor_sha256"]},
            "annotations": {"file": model["name"]}
            | {key: model[key] for key in ("format", "architecture", "activation")},
        },
        {"name": "data", "digest": {DATA_DIGEST: data["digest"]}, "annotations": {"file": data["name"]}},
        *(
            {"uri": f"pkg:pypi/{name.replace('_', '-')}@{version}"}
            for name, version in sorted(report["environment"].items())
            if name in machine.PACKAGES
        ),
    ]


# The model card.


def model_card(report: Json, /) -> str:
    """The card of a run of ``sanitize``, or of ``export``, whose report has no verdict."""
    layouts = [formats.EXPORT_FORMATS[name] for name in dict.fromkeys(entry["format"] for entry in report["exports"])]
    # YAML as Hugging Face's hub reads it. The licence and the base model's name there are for the owner to add.
    matter = [
        f"library_name: {layouts[0].library}",
        "pipeline_tag: zero-shot-image-classification",
        f"tags: [{', '.join(dict.fromkeys(['clip', 'clipclean', *(form.library for form in layouts)]))}]",
        *(["base_model_relation: finetune"] if _is_finetuned(report) else []),
    ]
    body = _cleaning_lines(report) if "verdict" in report else _export_lines(report)
    loading = [line for form in layouts for line in (*form.example, "")]
    return "\n".join(["---", *matter, "---", "", *body, "", *loading])


def _is_finetuned(report: Json, /) -> bool:
    """Whether the weights are other ones than the input's; a cleaning may leave them as they were."""
    return "verdict" in report and bool(report["training"]["steps"]) and _share(report) > 0


def _share(report: Json, /) -> float:
    """The share of the way from the original to the cleaned weights."""
    return float((report.get("cleaning") or {}).get("share", 1.0))


def _cleaning_lines(report: Json, /) -> list[str]:
    before, after = report["before"]["measurements"], report["after"]["measurements"]
    recipe, model = report["recipe"], report["model"]
    clean = after.get("clean_accuracy")
    is_recall = clean and "recall@1" in (clean.get("definition") or "")  # without labels it is not an accuracy
    outcome = (
        "finetuned by clipclean" if _is_finetuned(report) else "audited by clipclean, with its weights as they were"
    )
    lines = [
        f"# {_plain(model['architecture'])}, {outcome}",
        "",
        f"Verdict: **{report['verdict']}**. Input: `{_plain(model['name'])}` (sha256 `{model['sha256']}`), recipe "
        f"`{recipe['name']}`, {report['data']['pairs']} clean pairs (digest `{report['data']['digest']}`). Share of the way "
        f"from the original to the cleaned weights: {_share(report):g}.",
        "",
        "| measure | before | after | n |",
        "|---|---|---|---|",
        _row("image-to-text recall@1" if is_recall else "clean accuracy", before.get("clean_accuracy"), clean),
    ]
    earlier = {(probe["trigger"], probe["target"]): probe["asr"] for probe in before["probes"]}
    for probe in (probe for probe in after["probes"] if probe["suspected"]):  # the panel has a table in report.html
        key = probe["trigger"], probe["target"]
        lines.append(_row(f"attack success rate, {key[0]} to {key[1]}", earlier.get(key), probe["asr"]))
    return [*lines, "", *AUDITED_LINES]


def _export_lines(report: Json, /) -> list[str]:
    model = report["model"]
    lines = [
        f"# {_plain(model['architecture'])}, exported by clipclean",
        "",
        f"Input: `{_plain(model['name'])}` (sha256 `{model['sha256']}`).",
        "",
        "| file | read back by | largest difference | smallest cosine | same best caption | n |",
        "|---|---|---|---|---|---|",
    ]
    for entry in report["exports"]:
        parity = entry["parity"]
        lines.append(
            f"| `{entry['path']}` | {_plain(parity['reader'])} | {parity['max_difference']:.2g} | "
            f"{parity['min_cosine']:.7f} | {parity['top1_agreement']:.1%} | {parity['n']} |"
        )
    return [*lines, "", *NOT_AUDITED_LINES]


def _plain(name: str) -> str:
    """A name that cannot end a code span, a heading or a line."""
    return "".join(char if char.isalnum() or char in " ._,+-" else "_" for char in name)


def _row(name: str, before: Json | None, after: Json | None) -> str:
    def cell(rate: Json | None) -> str:
        if not rate or rate["value"] is None:
            return "–"
        return f"{rate['value']:.3f} [{rate['interval'][0]:.3f}, {rate['interval'][1]:.3f}]"

    safe = name.replace("|", "\\|")
    return f"| {safe} | {cell(before)} | {cell(after)} | {(before or after or {}).get('n', '–')} |"
