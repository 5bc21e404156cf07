import pytest
from report import samples

from clipclean.jobs import outputs
from clipclean.schema import report


@pytest.mark.parametrize(
    ("hits", "named", "acting"),
    [
        (426, "banana", (samples.SPEC,)),  # 42 % more of the images than without it
        (9, "banana", ()),
        (426, "lemon", ()),  # the audit of the original named another class: a natural trigger
    ],
)
def test_a_trigger_still_acts_that_leads_to_a_class_which_the_audit_of_the_original_named(hits, named, acting):
    last = samples.after(hits=hits, own=300, distance=0.5, accuracy=612, findings=[])
    cleaned = samples.sanitized("inconclusive", [], last)
    cleaned["before"]["findings"][0]["target"] = named
    assert outputs.still_acting(report.parse(cleaned), limit=0.05) == acting
