import math

from cases import each

from clipclean.report import wording


@each(
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


def test_an_interval_has_one_unit_and_real_minus_signs():
    assert wording.percent_interval([0.952, 0.983]) == "95.2 to 98.3 %"
    assert wording.percent_interval((-0.009, 0.015)) == "−0.9 to 1.5 %"
    assert wording.percent_interval((-0.0001, 0.0)) == "0.0 to 0.0 %"


def test_changes_carry_their_sign():
    assert wording.points(0.991, 0.012) == "−97.9 points"
    assert wording.points(0.5, 0.503) == "+0.3 points"
    assert wording.points(0.5, 0.50001) == "±0.0 points"
    assert wording.difference(1.62, 0.57) == "−1.05"
    assert wording.points(None, 0.5) == wording.difference(0.5, None) == "–"


def test_decimals_show_what_matters_of_small_numbers():
    assert [wording.decimal(x) for x in (1.62, 0.21, 0.0, 0.0123, 0.00041)] == [
        "1.62",
        "0.21",
        "0.00",
        "0.012",
        "0.00041",
    ]


def test_counts_sizes_and_times_are_in_everyday_units():
    assert wording.count(49950) == "49,950"
    assert [wording.memory(x) for x in (512, 2048, 3 * 2**19, 3 * 2**29)] == [
        "512 bytes",
        "2.0 KiB",
        "1.5 MiB",
        "1.5 GiB",
    ]
    assert [wording.duration(x) for x in (8.44, 92.4, 7500)] == ["8.4 s", "1 min 32 s", "2 h 5 min"]
    assert wording.duration(59.99) == "60.0 s"
