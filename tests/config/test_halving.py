from clipclean.config import halving


def test_a_short_list_keeps_every_class_to_the_end():
    assert halving.left(15, steps=4) == [15, 15, 15, 15]


def test_half_of_a_long_list_stops_after_two_fifths_of_the_steps_and_half_of_the_rest_after_seven_tenths():
    assert halving.left(25, steps=10) == [25] * 4 + [13] * 3 + [7] * 3


def test_a_search_of_one_step_takes_every_class():
    assert halving.left(64, steps=1) == [64]
