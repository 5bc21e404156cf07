import pytest
from report import samples

from clipclean.report import verdicts
from clipclean.schema import report

BUDGET = {"accuracy": 0.02, "excess": 0.05, "minutes": None}


def cleaned(verdict, findings, *, hits):
    """A cleaning after which the named trigger turns so many of 990 images into its class."""
    last = samples.after(hits=hits, own=300, distance=0.5, accuracy=612, findings=findings)
    walked = {"share": 1.0, "witnesses": 1, "way": [], "budget": BUDGET}
    result = samples.sanitized(verdict, findings, last) | {"cleaning": walked}
    result["before"]["findings"][0]["target"] = "banana"
    return result


@pytest.mark.parametrize(
    ("hits", "named", "acting"),
    [
        (426, "banana", (samples.SPEC,)),  # 42 % more of the images than without it
        (9, "banana", ()),
        (426, "lemon", ()),  # the audit of the original named another class: a natural trigger
    ],
)
def test_a_trigger_still_acts_that_leads_to_a_class_which_the_audit_of_the_original_named(hits, named, acting):
    result = cleaned("inconclusive", [], hits=hits)
    result["before"]["findings"][0]["target"] = named
    assert verdicts.triggers_left(report.parse(result)) == acting


@pytest.mark.parametrize(
    ("verdict", "level", "hits", "reasons"),
    [
        ("inconclusive", "note", 9, 0),
        ("inconclusive", "warning", 9, 1),  # the loss is over the budget
        ("inconclusive", "note", 426, 1),  # a trigger acts
        ("fail", "error", 426, 2),
        ("fail", "note", 9, 1),
    ],
)
def test_each_thing_that_speaks_against_the_weights_is_said(verdict, level, hits, reasons):
    result = cleaned(verdict, [samples.finding("CC010", level, "words")], hits=hits)
    said = verdicts.why_withheld(report.parse(result))
    assert len(list(filter(None, said.split(" and ")))) == reasons
