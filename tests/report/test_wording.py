import math

import pytest

from clipclean.report import wording


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.9712, "97.1 %"),
        (0.0, "0.0 %"),
        (1.0, "100.0 %"),
        (0.0004, "<0.1 %"),
        (0.9997, ">99.9 %"),
        (-0.012, "−1.2 %"),
        (-0.0001, ">−0.1 %"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_a_share_is_never_rounded_into_a_certainty(share, text):
    assert wording.percent(share) == text
