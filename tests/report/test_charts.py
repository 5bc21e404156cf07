import re

import pytest
from report import searches
from report.parsed import Parsed

from clipclean.report import charts as projection

projection = Parsed(projection)


def points(*places):
    return [{"x": x, "y": y, "kind": kind} for kind, x, y in places]


def centres(cloud):
    return [(float(x), float(y)) for x, y in re.findall(r"M(-?[\d.]+) (-?[\d.]+)", cloud.path)]


def drawn(*places, **more):
    made = {"method": "pca", "trigger": "t", "points": points(*places)} | more
    shown = projection.embedding_map(made)
    assert shown
    return shown


def test_both_axes_have_one_scale_and_up_is_up():
    shown = drawn(("clean", 0.0, 0.0), ("clean", 2.0, 1.0))
    # 94 units for 2 across, 54 for 1 up: the smaller scale is 47; the middle is (50, 30)
    assert centres(shown.clouds[0]) == [(3.0, 53.5), (97.0, 6.5)]


def test_kinds_are_in_one_order_with_their_counts_and_shapes():
    shown = drawn(("target", 0, 0), ("triggered", 1, 0), ("clean", 0, 1), ("clean", 1, 1))
    assert [(cloud.kind, cloud.n) for cloud in shown.clouds] == [("clean", 2), ("triggered", 1), ("target", 1)]
    shapes = {re.sub(r"M[-\d.]+ [-\d.]+", "", cloud.path.split("z")[0]) for cloud in shown.clouds}
    assert len(shapes) == 3


def test_the_words_say_how_far_triggered_images_reach_against_clean_ones():
    # clean: both 2 from their centre; triggered: both 1
    shown = drawn(("clean", -2, 0), ("clean", 2, 0), ("triggered", 5, -1), ("triggered", 5, 1))
    assert "the triggered images reach 0.50 times as far as the clean ones" in shown.summary
    assert "clean images, 2 points" in shown.summary


@pytest.mark.parametrize("places", [[("clean", 1, 1)], [("clean", 1, 1), ("triggered", 1, 1)]])
def test_points_that_fall_together_lie_in_the_middle(places):
    shown = drawn(*places)
    assert {centre for cloud in shown.clouds for centre in centres(cloud)} == {(50.0, 30.0)}
    assert "times as far" not in shown.summary


def test_many_points_are_thinned_and_counted_in_full():
    shown = drawn(*[("clean", i % 50, i) for i in range(5000)], *[("triggered", i, 1) for i in range(100)])
    assert [cloud.n for cloud in shown.clouds] == [5000, 100]
    kept = [len(centres(cloud)) for cloud in shown.clouds]
    # 600 * 5000 / 5100 and 600 * 100 / 5100, rounded down
    assert kept == [588, 11]


def test_huge_and_tiny_coordinates_give_finite_places():
    for reach in (2.0**62, 1e-320):
        shown = drawn(("clean", -reach, 0.0), ("clean", reach, reach))
        assert all(0 <= value <= 100 for centre in centres(shown.clouds[0]) for value in centre)


def test_a_line_leads_from_each_image_to_its_triggered_copy():
    shown = drawn(("clean", 0, 0), ("target", 0, 1), ("triggered", 2, 0), ("triggered", 2, 1))
    # the scale is 47: from x = 3 to x = 97, the first pair below the second
    assert shown.moves == "M3.00 53.50L97.00 53.50M3.00 6.50L97.00 6.50"
    assert drawn(("clean", 0, 0), ("triggered", 1, 0), ("triggered", 2, 0)).moves == ""


def test_texts_of_classes_stand_beside_their_marks_and_inside_the_frame():
    made = {"method": "tsne", "trigger": "t", "points": points(("clean", 0, 0), ("text", 2, 1))}
    made["points"][1]["label"] = "x" * 100
    (label,) = projection.embedding_map(made).texts
    assert (label.text, label.anchor) == ("x" * 24, "end")
    assert float(label.x) < 97


def test_no_points_make_no_map():
    assert projection.embedding_map(None) is None
    assert projection.embedding_map({"method": "pca", "trigger": "t", "points": []}) is None


def test_the_axes_of_principal_components_have_shares_and_those_of_tsne_a_warning():
    made = searches.projection()
    assert "41.0 % and 12.0 %" in projection.embedding_map(made).axes
    assert "means little" in projection.embedding_map(made | {"method": "tsne", "explained": None}).axes
    assert "differ most" in projection.embedding_map(made | {"explained": None}).axes
