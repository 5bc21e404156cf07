from cases import each
from report import samples, searches

from clipclean import report
from clipclean.jobs.compare import compare


def made(*findings, verdict="fail"):
    """A report with these findings: rule, level, trigger, interval."""
    base = report.parse(samples.failed())
    first = base.findings[0]
    return base.model_copy(
        update={
            "verdict": verdict,
            "findings": tuple(
                first.model_copy(
                    update={
                        "rule": rule,
                        "level": level,
                        "trigger": trigger,
                        "interval": interval,
                        "class_": None,
                        "target": None,
                    }
                )
                for rule, level, trigger, interval in findings
            ),
        }
    )


def changes(before, after):
    return [each.change for each in compare(made(*before), made(*after)).differences]


PATCH = ("CC001", "error", "patch", (0.2, 0.4))


@each(
    ("before", "after", "change"),
    [
        ([], [PATCH], ["new"]),
        ([PATCH], [PATCH], ["same"]),
        ([PATCH], [], ["gone"]),
        ([("CC001", "warning", "patch", (0.2, 0.4))], [PATCH], ["worse"]),
        ([PATCH], [("CC001", "warning", "patch", (0.2, 0.4))], ["same"]),
        ([PATCH], [("CC001", "error", "patch", (0.39, 0.6))], ["same"]),  # the intervals overlap
        ([PATCH], [("CC001", "error", "patch", (0.41, 0.6))], ["worse"]),
        ([PATCH], [("CC001", "error", "stripes", (0.2, 0.4))], ["new", "gone"]),
        ([PATCH], [PATCH, PATCH], ["same"]),
    ],
)
def test_findings_are_matched_by_what_they_are_about(before, after, change):
    assert changes(before, after) == change


def test_a_gate_fails_by_what_is_new_or_worse_at_its_level_or_above():
    note, doubt = ("CC040", "note", None, None), ("CC021", "warning", None, None)
    found = compare(made(), made(note, doubt))
    assert len(found.blocking("inconclusive")) == 1
    assert found.blocking("error") == ()
    assert len(compare(made(), made(PATCH)).blocking("error")) == 1
    assert compare(made(PATCH, doubt), made(PATCH, doubt)).blocking("inconclusive") == ()


def test_what_the_later_run_did_not_look_for_is_not_gone():
    small = ("CC003", "error", "found:mask", (0.2, 0.4))
    found = compare(made(small), made())  # neither searched
    assert [each.change for each in found.differences] == ["not measured"]
    assert len(found.blocking("error")) == 1
    searched = report.parse(searches.calm() | {"findings": []})
    assert [each.change for each in compare(made(small), searched).differences] == ["gone"]
