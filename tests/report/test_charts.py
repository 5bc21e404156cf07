"""Where drawings put their points, worked by hand."""

import re

import pytest
from report import searches
from report.parsed import Parsed

from clipclean.report import charts

charts = Parsed(charts)


def points(*places):
    return [{"x": x, "y": y, "kind": kind} for kind, x, y in places]


def centres(cloud):
    return [(float(x), float(y)) for x, y in re.findall(r"M(-?[\d.]+) (-?[\d.]+)", cloud.path)]


def drawn(*places, **more):
    return charts.embedding_map({"method": "pca", "trigger": "t", "points": points(*places)} | more)


@pytest.mark.parametrize(
    ("places", "found"),
    [
        # 94 units for 2 across, 54 for 1 up: the smaller scale is 47 for both axes; the middle is (50, 30), and up is up
        ([("clean", 0.0, 0.0), ("clean", 2.0, 1.0)], [(3.0, 53.5), (97.0, 6.5)]),
        ([("clean", 1, 1)], [(50.0, 30.0)]),
        ([("clean", 1, 1), ("triggered", 1, 1)], [(50.0, 30.0)]),
        ([("clean", -(2.0**62), 0.0), ("clean", 2.0**62, 0.0)], [(3.0, 30.0), (97.0, 30.0)]),
        ([("clean", -1e-320, 0.0), ("clean", 1e-320, 0.0)], None),
    ],
)
def test_points_lie_where_the_numbers_say_and_always_inside_the_map(places, found):
    shown = centres(drawn(*places).clouds[0])
    assert all(0 <= value <= 100 for centre in shown for value in centre)
    assert found in (shown, None)


def test_points_of_a_map_have_shapes_counts_lines_to_their_copies_and_texts_and_many_are_thinned():
    shown = drawn(("target", 0, 0), ("triggered", 1, 0), ("clean", 0, 1), ("clean", 1, 1))
    assert [(cloud.kind, cloud.n) for cloud in shown.clouds] == [("clean", 2), ("triggered", 1), ("target", 1)]
    assert len({re.sub(r"M[-\d.]+ [-\d.]+", "", cloud.path.split("z")[0]) for cloud in shown.clouds}) == 3
    # clean: both 2 from their centre; triggered: both 1
    shown = drawn(("clean", -2, 0), ("clean", 2, 0), ("triggered", 5, -1), ("triggered", 5, 1))
    assert "0.50 times" in shown.summary
    assert " times" not in drawn(("clean", 1, 1)).summary
    shown = drawn(*[("clean", i % 50, i) for i in range(5000)], *[("triggered", i, 1) for i in range(100)])
    assert [cloud.n for cloud in shown.clouds] == [5000, 100]
    # 600 * 5000 / 5100 and 600 * 100 / 5100, rounded down
    assert [len(centres(cloud)) for cloud in shown.clouds] == [588, 11]
    assert charts.embedding_map(None) is drawn() is None
    made = searches.projection()
    assert "41.0 % and 12.0 %" in charts.embedding_map(made).axes
    assert "%" not in charts.embedding_map(made | {"method": "tsne", "explained": None}).axes
    shown = drawn(("clean", 0, 0), ("target", 0, 1), ("triggered", 2, 0), ("triggered", 2, 1))
    # the scale is 47: from x = 3 to x = 97, the first pair below the second
    assert shown.moves == "M3.00 53.50L97.00 53.50M3.00 6.50L97.00 6.50"
    assert drawn(("clean", 0, 0), ("triggered", 1, 0), ("triggered", 2, 0)).moves == ""
    made = points(("clean", 0, 0), ("text", 2, 1))
    made[1]["label"] = "x" * 100
    (label,) = drawn(method="tsne", points=made).texts
    assert (label.text, label.anchor, float(label.x) < 97) == ("x" * 24, "end", True)


def loss(*values):
    (drawn,) = charts.curve([{"step": 5 * i, "loss": value, "lr": 0.1} for i, value in enumerate(values)], "")
    return drawn


def test_a_curve_touches_its_frame_where_the_numbers_say_and_a_long_one_is_thinned():
    shown = loss(4.0, 2.0, 1.0)
    # levels 0 to 4 by 1: 4 is the top, 2 the middle, 1 three quarters down
    assert [value for value, _ in shown.levels] == ["0", "1", "2", "3", "4"]
    assert shown.lines[0].points == "0.00,0.00 50.00,50.00 100.00,75.00"
    one = [{"step": 5, "loss": 1.0, "lr": 0.1}]
    assert charts.curve([], "") == charts.curve(one, "") == charts.curve(one * 2, "") == []
    assert len(loss(0.0, 0.0, 0.0).levels) >= 2
    places = loss(*[1.0] * 5000).lines[0].points.split()
    assert len(places) == charts.MAX_POINTS
    assert (places[0][:5], places[-1][:7]) == ("0.00,", "100.00,")


def test_sizes_of_a_family_share_a_scale_and_lie_where_the_numbers_say():
    mask, patch, lemon, warp = charts.sizes(searches.backdoored()["measurements"]["search"]["found"])
    # mask and patch: the greatest is 14 % of the reference, so the scale ends at 20 %; 0.021 / 0.2 = 10.5 %
    assert (mask.top, patch.top, lemon.top, warp.top) == ("20 %", "20 %", "20 %", "50 %")
    assert (mask.length, patch.length, lemon.length, warp.length) == ("10.50%", "17.00%", "52.00%", "84.00%")
    assert (mask.low, mask.width, mask.median) == ("45.00%", "25.00%", "55.00%")
    assert (warp.low, warp.width, warp.median) == (None, None, None)
    (unknown,) = charts.sizes(searches.poor()["measurements"]["search"]["found"])
    assert (unknown.length, unknown.low) == ("0.00%", None)
