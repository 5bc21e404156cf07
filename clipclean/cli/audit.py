"""``clipclean audit``: does a checkpoint carry a backdoor?"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipclean.api import requests, roles
from clipclean.cli import audits, options, printing, several
from clipclean.cli.audits import PagedReport
from clipclean.cli.command import Given, command, option
from clipclean.config.recipe import EFFORTS

if TYPE_CHECKING:
    from clipclean.report import PageImages, Report

EPILOG = """\b
Examples:
  clipclean audit model.pt --classes classes.txt
  clipclean audit model.safetensors -d images/ --reference trusted.pt --report report.html
  clipclean audit model.pt -d images/ --effort thorough --save-triggers found/ --policy policy.yaml
  clipclean audit checkpoints/ other.pt --classes classes.txt --report-dir reports/
"""


@command(epilog=EPILOG)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(readable=False, path_type=Path))
@options.images(
    f"Images to measure and search on. {options.SETS_HELP} Labels (one folder per class) and captions are "
    "used if present. A few hundred varied images are enough. They may contain poisoned images; only the labels must be right.",
    **options.SETS,
    show_default="bundled images",
)
@options.reference(
    "A clean model of the same architecture that you trust. It is searched in the same way, and its natural "
    "triggers for a class do not count against the model. Repeatable.",
)
@option(
    "--references",
    group="Model",
    metavar="FILE",
    multiple=True,
    help="The same, from a file of 'clipclean references build' and without another search. Repeatable.",
)
@options.effort(
    "How hard to search; a harder search misses less. Forward and backward passes of one image through the image tower: "
    + ", ".join(f"{name} {most:,}" for name, (_, most) in ((name, effort.passes()) for name, effort in EFFORTS.items()))
    + " at most.",
)
@option(
    "--save-triggers",
    group="Output",
    metavar="DIR",
    help="Folder to save the found triggers in, for 'clipclean sanitize --trigger FILE'.",
)
@option(
    "--power",
    group="Search",
    is_flag=True,
    help="Plant test backdoors in copies of the model and run the same audit on each: the report says how many it "
    "finds. If it finds nearly all of them and nothing in the model, the model may pass without --reference. "
    "Costs one more audit for each test backdoor.",
)
@option(
    "--canaries",
    group="Search",
    metavar="N",
    default=4,
    help="Number of test backdoors of --power, each of another family. A pass needs at least 4.",
)
@option(
    "--report-dir",
    group="Output",
    metavar="DIR",
    help="Folder for a report of each model, as JSON, HTML, SARIF, JUnit and Markdown.",
)
@option(
    "--no-search",
    group="Search",
    is_flag=True,
    help="Try the known triggers only. This is faster, but misses other backdoors, so the verdict is never pass.",
)
@options.download
@options.arch
@options.weights
@options.classes
@options.templates
@options.policy
@options.seed
@options.device
@options.workers
@options.max_minutes
@options.outputs
@options.as_json
@options.fail_on
@options.baseline
@options.exit_zero
@options.quiet
@options.label
@options.dry_run
@options.config
@options.verbose
def audit(**given: Any) -> int:
    """Look for an unknown backdoor in MODEL, and name the class that it leads to.

    The audit tries known triggers, searches for unknown ones, and compares the results with those of clean models. Nothing in
    MODEL is executed. The exit code is the verdict. With several MODELs, or a folder of them, each is audited; a summary
    follows, the exit code is the worst, and JSON is a list.
    """
    from clipclean.jobs import model_paths

    found = model_paths.expanded(given["models"])
    several.check_single("An audit")
    if len(found) > 1:
        return audits.audit_all(given, found)
    given["model"] = found[0]
    roles.check(given)
    outputs = printing.outputs_of(given)
    printing.check_baseline(given)
    requests.policy_of(given)  # a wrong one is refused before torch comes
    made = audits.audited(given)
    if not isinstance(made, PagedReport):
        return printing.show(given, made)
    if given["report_dir"] is not None:
        audits.write_reports(given, audits.labels(found)[0], made)
    return shown_result(given, made.report, made.images, outputs)


def shown_result(given: Given, result: "Report", images: "PageImages", outputs: Sequence[options.Output], /) -> int:
    """Write and print a report; returns the exit code."""
    is_text = printing.show_report(
        given, result, outputs, images=images, place=audits.place_of(given), page=given.get("report_dir")
    )
    code = printing.exit_code(given, result)
    printing.show_policy(result, on_stdout=is_text)
    return code
