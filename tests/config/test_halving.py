from clipclean.config import halving


def test_a_short_list_keeps_every_class_to_the_end():
    assert halving.left(10, steps=4) == [10, 10, 10, 10]


def test_half_of_a_long_list_stops_after_two_fifths_of_the_steps_and_half_of_the_rest_after_seven_tenths():
    assert halving.left(25, steps=10) == [25] * 4 + [13] * 3 + [7] * 3


def test_a_search_of_one_step_takes_every_class():
    assert halving.left(64, steps=1) == [64]


def test_six_classes_go_on_in_any_case():
    assert halving.left(12, steps=10) == [12] * 4 + [6] * 6
