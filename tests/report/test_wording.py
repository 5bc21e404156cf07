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


@pytest.mark.parametrize(
    ("function", "given", "text"),
    [
        (wording.percent_interval, ([0.952, 0.983],), "95.2 to 98.3 %"),
        (wording.percent_interval, ((-0.009, 0.015),), "−0.9 to 1.5 %"),
        (wording.percent_interval, ((-0.0001, 0.0),), "0.0 to 0.0 %"),
        (wording.decimal, (1.62,), "1.62"),
        (wording.decimal, (0.0,), "0.00"),
        (wording.decimal, (0.0123,), "0.012"),
        (wording.decimal, (0.00041,), "0.00041"),
        (wording.count, (49950,), "49,950"),
        (wording.memory, (512,), "512 bytes"),
        (wording.memory, (2048,), "2.0 KiB"),
        (wording.memory, (3 * 2**19,), "1.5 MiB"),
        (wording.memory, (3 * 2**29,), "1.5 GiB"),
        (wording.duration, (8.44,), "8.4 s"),
        (wording.duration, (59.99,), "60.0 s"),
        (wording.duration, (92.4,), "1 min 32 s"),
        (wording.duration, (7500,), "2 h 5 min"),
    ],
)
def test_numbers_are_in_everyday_units_with_real_minus_signs(function, given, text):
    assert function(*given) == text
