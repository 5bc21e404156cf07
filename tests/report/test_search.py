import pytest
from report import samples, searches
from report.parsed import Parsed, parsed

from clipclean import detect, report
from clipclean.report import charts as drawing
from clipclean.report import search
from clipclean.schema.report import CalibrationRecord

report, drawing, search = Parsed(report), Parsed(drawing), Parsed(search)


def test_an_empty_search_is_none_and_one_that_found_nothing_is_one():
    made = searches.calm()
    assert search.ran(made)
    made["measurements"]["search"]["found"] = []
    assert search.ran(made)
    assert search.strongest(made) is None
    assert not search.ran(samples.audited())
    assert search.searches(samples.audited()) == []


def test_an_unlearning_is_a_search_where_it_scored_anything():
    assert search.ran(samples.unlearned())
    assert not search.ran(samples.forgotten())
    assert search.searches(samples.unlearned()) == []
    assert [search.made(samples.unlearned(), side) for side in ("before", "after")] == [None, None]


def test_the_families_are_those_of_every_search():
    both = searches.cleaned() | {"training": samples.unlearned()["training"]}
    both["training"]["unlearning"]["rounds"][2]["scores"]["bands"] = None
    assert search.covered(samples.unlearned()) == "fixed mask and pattern"
    assert search.covered(both) == (
        "fixed mask and pattern, patch at random places, smooth distortion, waves or stripes over the whole image"
    )
    assert search.covered(samples.forgotten()) == ""


def test_each_family_of_the_search_has_its_own_words_in_the_report():
    words = {name: family.words for name, family in detect.FAMILIES.items()}
    assert {name: search.family(name) for name in words} == words


def test_a_sanitization_has_a_search_a_side():
    assert [made.when for made in search.searches(searches.cleaned())] == ["before", "after"]
    assert [made.when for made in search.searches(searches.calm())] == [""]


def test_the_signs_say_smaller_or_larger_and_nothing_where_nothing_was_compared():
    entry = searches.backdoored()["measurements"]["search"]["found"][0]
    assert search.signs(entry) == [
        "6.2 deviations smaller than clean models need",
        "8.1 deviations smaller than the other classes need",
    ]
    assert search.signs(entry | {"abnormality": -0.25, "outlyingness": None}) == [
        "0.2 deviations larger than clean models need"
    ]
    assert search.signs(entry | {"abnormality": None, "outlyingness": None, "reached": False}) == [
        "did not come to the success that it aimed at"
    ]


def test_what_clean_models_need_is_a_range_and_of_one_clean_model_its_size():
    entry = searches.backdoored()["measurements"]["search"]["found"][0]
    assert search.needed(entry) == "9.0 to 14.0 %"
    assert search.needed(entry | {"reference": {"median": 0.141, "low": 0.141, "high": 0.141, "n": 1}}) == "14.1 %"
    assert search.needed(entry | {"reference": None}) == "–"


@pytest.mark.parametrize(
    ("kind", "models", "words"),
    [
        ("stored", 12, "stored statistics of 12 clean models (ViT-tiny)"),
        ("reference", 1, "a search of 1 clean model that was given (ViT-tiny)"),
        ("none", 0, "the other classes of this model alone, as there was no clean model"),
    ],
)
def test_the_comparison_is_told_by_its_kind(kind, models, words):
    assert search.calibration(CalibrationRecord(kind=kind, name="ViT-tiny", models=models)) == words


def test_a_family_that_this_version_does_not_know_keeps_its_name():
    assert (
        search.families({"class": "a", "score": 1.0, "families": ["mask", "swirl"]}) == "fixed mask and pattern, swirl"
    )
    assert search.families({"class": "a", "score": None}) == ""


def test_sizes_of_a_family_share_a_scale_and_lie_where_the_numbers_say():
    found = searches.backdoored()["measurements"]["search"]["found"]
    mask, patch, lemon, warp = drawing.sizes(found)
    # mask and patch: the greatest is 14 % of the reference, so the scale ends at 20 %; 0.021 / 0.2 = 10.5 %
    assert (mask.top, patch.top, lemon.top, warp.top) == ("20 %", "20 %", "20 %", "50 %")
    assert (mask.length, patch.length, lemon.length, warp.length) == ("10.50%", "17.00%", "52.00%", "84.00%")
    assert (mask.low, mask.width, mask.median) == ("45.00%", "25.00%", "55.00%")
    assert (warp.low, warp.width, warp.median) == (None, None, None)


def test_an_unknown_size_is_drawn_as_nothing():
    (drawn,) = drawing.sizes(searches.poor()["measurements"]["search"]["found"])
    assert (drawn.length, drawn.low) == ("0.00%", None)


def test_a_search_that_found_nothing_good_enough_has_no_size_and_is_not_told_first():
    made = searches.backdoored()
    entries = made["measurements"]["search"]["found"]
    entries[0] |= {"reached": False, "size": 1.0, "size_words": "covers 43 % of the image"}
    (shown,) = search.searches(made)
    assert (shown.found[0].size, shown.found[0].size_words) == (None, "none that is good enough")
    assert shown.found[1] == search.strongest(made) == parsed(entries[1])
    for entry in entries:
        entry["reached"] = False
    assert search.strongest(made) is None
    assert "43 %" not in report.html(made)


def test_the_trigger_that_is_told_first_is_of_the_first_suspect():
    made = searches.backdoored()
    entries = made["measurements"]["search"]["found"]
    made["suspects"] = [{"class": "lemon", "score": 9.0}, {"class": "banana", "score": 8.0}]
    assert search.strongest(made) == parsed(entries[2])
    made["suspects"] = [{"class": "zebra", "score": 9.0}]  # none of its triggers reached what it aimed at
    assert search.strongest(made) == parsed(entries[0])


def test_a_long_list_of_found_triggers_is_folded_after_the_first_and_complete():
    made = searches.backdoored()
    entries = made["measurements"]["search"]["found"]
    made["measurements"]["search"]["found"] = [entries[0] | {"class": f"kind {number}"} for number in range(24)]
    page = report.html(made)
    first, _, rest = page.partition("<details><summary>The other 16</summary>")
    assert ("kind 7</bdi></span>" in first, "kind 8</bdi></span>" in first) == (True, False)
    assert all(f"<bdi>kind {number}</bdi></span>" in rest for number in range(8, 24))
