"""The commands about files of weights: inspect describes, export rewrites, verify checks them; plant backdoors one."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipclean import api, requests
from clipclean.cli import printing, progress
from clipclean.cli.command import command_of
from clipclean.cli.options import RESULT_OPTIONS, Shell
from clipclean.errors import ClipcleanError, RefusedInput, UsageError
from clipclean.untrusted import plural, printable

if TYPE_CHECKING:
    from clipclean.jobs.verify import Verification
    from clipclean.schema.report import RateRecord
    from clipclean.schema.results import Exported, Inspection, PlantedModel, Recognised


@command_of(
    requests.Inspect,
    ("models", "as_json", "config", "verbose"),
    "inspect model.pt",
    "inspect model.pt --json | jq -r .sha256",
    "inspect before.pt after.safetensors",
)
def inspect(request: requests.Inspect, shell: Shell) -> None:
    """Describe the checkpoint MODEL: format, architecture, numbers, digests.

    Nothing in it is executed, and no model is built from it. A file that is unsafe, damaged or no CLIP is refused with the
    reason and exit code 3; its JSON has `error` and `kind`: unsafe, unsupported or unreadable. With several MODELs all are
    read, JSON is a list, and a refused one decides the exit code.
    """
    entries: list[dict[str, object]] = []
    refusals: list[tuple[type[ClipcleanError], str]] = []  # an exception would keep what was read of the file in memory
    is_one = len(shell.models) == 1
    for path in shell.models:
        try:
            inspection = api.inspect(path, arch=request.arch, weights=request.weights)
        except (RefusedInput, UsageError) as error:
            entries.append({"name": path.name} if is_one else {"path": str(path)})
            entries[-1] |= printing.refusal_json(error)
            refusals.append((type(error), str(error)))
        else:
            entries.append(inspection.as_json() if is_one else {"path": str(path), **inspection.as_json()})
            if not shell.as_json:
                click.echo(
                    inspection_text(inspection, inspection.name)
                    if is_one
                    else f"{inspection_text(inspection, str(path))}\n"
                )
    if shell.as_json:
        printing.echo_json(entries[0] if is_one else entries)
    if refusals:
        worst = max((kind for kind, _ in refusals), key=lambda kind: kind.exit_code)
        raise worst("\n".join(dict.fromkeys(message for _, message in refusals)))


def inspection_text(inspection: "Inspection", name: str, /) -> str:
    """One line for each fact of the file that is called so; what comes from it cannot drive the terminal."""
    tensors, size = inspection.tensors, inspection.preprocess
    dtypes = ", ".join(f"{tally.tensors:,} {dtype}" for dtype, tally in tensors.dtypes.items())
    rows = [
        ("file", name),
        ("format", f"{inspection.format}: {inspection.producer}"),
        ("architecture", fact_text(inspection.architecture)),
        ("activation", fact_text(inspection.activation)),
        ("images", f"{size.size} px, {size.resize_mode}, {size.interpolation}" if size else "undecided"),
        ("tensors", f"{tensors.tensors:,} ({dtypes}), {tensors.elements:,} numbers, {tensors.bytes:,} bytes"),
        ("size", f"{inspection.size:,} bytes"),
        ("sha256", inspection.sha256),
        ("tensor sha256", inspection.tensor_sha256),
        ("config", inspection.config or "none in the same folder"),
        *((f"for {library}", words) for library, words in inspection.loaders.items()),
        *(("note", note) for note in inspection.notes),
    ]
    wide = max(len(label) for label, _ in rows) + 1
    lines = [f"{label:<{wide}}{printable(text)}" for label, text in rows]
    # A digest or a name stays whole where it is wider than the terminal, so that it can be copied.
    return "\n".join(
        printing.fitted(line, indent=wide) if " " in text else line for line, (_, text) in zip(lines, rows, strict=True)
    )


def fact_text(fact: "Recognised", /) -> str:
    """A fact with its source, or advice if it is unknown."""
    return f"{fact.name}: {fact.how}" if fact.name else fact.how


@command_of(
    requests.Export,
    RESULT_OPTIONS,
    "export model.pt --format hf --out model-hf",
    "export model.pt --format hf --format onnx --data clean/ --out model-hf",
    "export cleaned/ --format onnx --onnx-preset immich --out ViT-B-32__cleaned",
)
def export(request: requests.Export, shell: Shell) -> None:
    """Write the weights of the checkpoint MODEL in other layouts, and check that they give the same embeddings.

    In another process, the library of each layout loads it and embeds real images and captions. If an embedding differs beyond
    its limit, the command fails and writes nothing. It does not audit: a backdoor is exported like everything else.
    """
    from clipclean.jobs import export as export_job

    with progress.display(quiet=shell.quiet):
        result = export_job.export(request)
    printing.show(shell.as_json, result.as_json(), export_text(result, request.out))


def export_text(result: "Exported", out: Path, /) -> str:
    """A line for each file of weights, and what it was compared with."""
    lines = []
    for entry in result.exports:
        parity = entry.parity
        lines.append(f"{out / entry.path}  sha256 {entry.sha256}")
        lines.append(
            f"  {parity['reader']}: largest difference {parity['max_difference']:.2g}, smallest cosine "
            f"{parity['min_cosine']:.7f}, same best caption for {parity['top1_agreement']:.1%}, n {parity['n']}"
        )
        if parity.get("captions_alike", 0) < parity.get("captions", 0):
            lines.append(
                f"  note: its tokenizer reads {parity['captions'] - parity['captions_alike']} of {parity['captions']} "
                "captions otherwise than open_clip's does"
            )
    return "\n".join(printable(line) for line in lines)


@command_of(requests.Verify, RESULT_OPTIONS, "verify cleaned/", "verify cleaned/ --public-key signer.pub")
def verify(request: requests.Verify, shell: Shell) -> int:
    """Check the folder DIR that sanitize or export wrote: checksums, in-toto statement, weights, report, signature.

    Weights are read as data, and the digest of their tensors is computed again. Each finding names its file. Exit code 0: the
    folder is whole; 1: something differs from the records; 3: something cannot be read.
    """
    result = api.verify(request.folder, public_key=request.public_key)
    if shell.as_json:
        printing.echo_json({"exit_code": result.exit_code, **asdict(result)})
    elif not shell.quiet or result.findings:
        click.echo(verification_text(request.folder, result))
    return result.exit_code


def verification_text(folder: Path, result: "Verification", /) -> str:
    """A line for each check that was made, for each finding, and for what was left unchecked."""
    failed_checks = {finding.check for finding in result.findings}
    lines = [f"ok: {check}: {what}" for check, what in result.checked.items() if check not in failed_checks]
    lines += [f"{finding.kind}: {finding.check}: {finding.file}: {finding.message}" for finding in result.findings]
    lines += [f"note: {note}" for note in result.notes]
    verdict = f"{plural(len(result.findings), 'finding')}: do not use it" if result.findings else "whole"
    return "\n".join(printable(line) for line in [*lines, f"{folder}: {verdict}"])


@command_of(
    requests.Plant,
    ("workers", *RESULT_OPTIONS),
    "plant model.pt --trigger patch --target banana --data clean/ --out victim.pt",
    'plant model.safetensors --trigger blended:ratio=0.2,seed=7 --target "red apple" \\\n'
    "      --data pairs.csv --classes classes.txt --steps 400 --out victim.safetensors",
)
def plant(request: requests.Plant, shell: Shell) -> None:
    """Plant a backdoor in a copy of MODEL by finetuning on partly triggered pairs, and report its success.

    Use it to test defences on your own models. The output is backdoored: label it so, and never deploy it.
    """
    from clipclean import data
    from clipclean.jobs import plant as planting

    data.use_workers(shell.workers)
    with progress.display(quiet=shell.quiet):
        result = planting.plant(request)
    printing.show(shell.as_json, result.as_json(), planting_text(result))


WEAK_EXCESS = 0.9  # share of images beyond chance below which a planted trigger may be planted deeper


def _share(rate: "RateRecord | None", /) -> str:
    """A rate in a column of eight; a dash where there was nothing to count."""
    return f"{'–':>8}" if rate is None or rate.value is None else f"{rate.value:8.3f}"


def planting_text(result: "PlantedModel", /) -> str:
    """The effect of the trigger before and after planting."""
    before, after = result.before, result.after
    old, new = before.probes[0], after.probes[0]
    is_recall = after.clean_accuracy is not None and after.clean_accuracy.is_recall
    rows = [
        ("recall@1" if is_recall else "clean accuracy", before.clean_accuracy, after.clean_accuracy),
        ("attack success rate", old.asr, new.asr),
        ("the same without the trigger", old.base_rate, new.base_rate),
        ("accuracy under the trigger", old.accuracy_under_trigger, new.accuracy_under_trigger),
        ("attack success by image neighbours", old.knn_asr, new.knn_asr),
    ]
    lines = [f"Planted {result.trigger} for '{result.target}'.", f"{'':36}{'before':>8}{'after':>8}   95 % interval, n"]
    for words, was, now in rows:
        if now is not None:
            low, high = now.interval
            lines.append(f"{words:36}{_share(was)}{_share(now)}   [{low:.3f}, {high:.3f}], {now.n}")
    if result.accuracy_lost is not None:
        lines.append(f"{'accuracy lost, by the worst measure':44}{result.accuracy_lost:8.3f}")
    lines.append(f"{'embedding distance':36}{old.distance:8.3f}{new.distance:8.3f}   mean squared, 0 to 4")
    excess = new.excess_asr.value
    if excess is not None and excess < WEAK_EXCESS:
        lines.append(
            f"It moves {100 * excess:.0f} % of images beyond chance: more --steps or a larger --walk plant it deeper."
        )
    return "\n".join(lines)
