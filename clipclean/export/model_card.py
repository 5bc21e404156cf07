"""``README.md`` of an output folder: a model card with results and loading instructions."""

from typing import Any

from clipclean.export import formats

Json = dict[str, Any]  # Any: JSON whose shape the schema of the report holds

NAME = "README.md"
AUDITED = (
    "Definitions, intervals and findings are in `report.json`; where the weights come from in `provenance.intoto.json`.",
    "What was not probed for is not cleared: see the findings.",
)
NOT_AUDITED = (
    "The weights were rewritten and compared, not audited or changed: a backdoor would have been exported like everything",
    "else. Where they come from is in `provenance.intoto.json`.",
)


def model_card(report: Json, /) -> str:
    """The card of a run of ``sanitize``, or of ``export``, whose report has no verdict."""
    used = [formats.FORMATS[name] for name in dict.fromkeys(entry["format"] for entry in report["exports"])]
    # YAML as Hugging Face's hub reads it. The licence and the base model's name there are for the owner to add.
    matter = [
        f"library_name: {used[0].library}",
        "pipeline_tag: zero-shot-image-classification",
        f"tags: [{', '.join(dict.fromkeys(['clip', 'clipclean', *(form.library for form in used)]))}]",
        *(["base_model_relation: finetune"] if _is_finetuned(report) else []),
    ]
    body = _sanitized(report) if "verdict" in report else _converted(report)
    loading = [line for form in used for line in (*form.example, "")]
    return "\n".join(["---", *matter, "---", "", *body, "", *loading])


def _is_finetuned(report: Json, /) -> bool:
    """Whether the weights are other ones than the input's; a cleaning may leave them as they were."""
    return "verdict" in report and bool(report["training"]["steps"]) and _share(report) > 0


def _share(report: Json, /) -> float:
    """The share of the way from the original to the cleaned weights."""
    return float((report.get("cleaning") or {}).get("share", 1.0))


def _sanitized(report: Json, /) -> list[str]:
    before, after = report["before"]["measurements"], report["after"]["measurements"]
    recipe, model = report["recipe"], report["model"]
    clean = after.get("clean_accuracy")
    is_recall = clean and "recall@1" in (clean.get("definition") or "")  # without labels it is not an accuracy
    done = "finetuned by clipclean" if _is_finetuned(report) else "audited by clipclean, with its weights as they were"
    lines = [
        f"# {_plain(model['architecture'])}, {done}",
        "",
        f"Verdict: **{report['verdict']}**. Input: `{_plain(model['name'])}` (sha256 `{model['sha256']}`), recipe "
        f"`{recipe['name']}`, {report['data']['pairs']} clean pairs (digest `{report['data']['digest']}`). Share of the way "
        f"from the original to the cleaned weights: {_share(report):g}.",
        "",
        "| measure | before | after | n |",
        "|---|---|---|---|",
        _row("image-to-text recall@1" if is_recall else "clean accuracy", before.get("clean_accuracy"), clean),
    ]
    was = {(probe["trigger"], probe["target"]): probe["asr"] for probe in before["probes"]}
    for probe in (probe for probe in after["probes"] if probe["known"]):  # the panel has a table in report.html
        key = probe["trigger"], probe["target"]
        lines.append(_row(f"attack success rate, {key[0]} to {key[1]}", was.get(key), probe["asr"]))
    return [*lines, "", *AUDITED]


def _converted(report: Json, /) -> list[str]:
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
    return [*lines, "", *NOT_AUDITED]


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
