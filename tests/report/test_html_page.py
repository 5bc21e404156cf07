"""The HTML page: what holds for every report, and what a reader without sight, colour or scripts gets."""

import base64
import functools
import hashlib
import itertools
import re

import pytest
from report import samples, searches
from report.page import Page
from report.parsed import report

from clipclean.report import PageImages, RunPaths
from clipclean.report.html_page import policy

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(30)).decode()
IMAGE = {"title": "Embeddings", "caption": "Before and after", "alt": "Two clouds of points", "png_base64": PNG}


def row(title, **sides):
    cells = [{"when": when, "mark": mark, "answers": [{"name": mark, "score": 0.9}]} for when, mark in sides.items()]
    return {"title": title, "png_base64": PNG, "alt": title, "cells": cells}


ROWS = [row("Without the trigger", before="right", after="wrong"), row("With it", before="target", after="right")]
IMAGES = PageImages((IMAGE,), ({"label": "apple", "rows": ROWS},))


@functools.cache
def page_of(made):
    return Page(report.html(made(), IMAGES))


@pytest.fixture(params=searches.EVERY, ids=lambda made: made.__name__)
def page(request):
    return page_of(request.param)


@functools.cache
def css():
    return re.search(r"<style>(.*?)</style>", report.html(samples.passed()), re.S)[1]


def ids_of(page):
    return [attributes["id"] for _, attributes in page.tags if "id" in attributes]


def test_every_tag_of_a_page_is_closed(page):
    assert page.faults == []


def test_headings_of_a_page_leave_out_no_level(page):
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_a_screen_reader_is_told_every_part_of_a_page(page):
    assert page.all("html") == [{"lang": "en"}]
    assert all(len(page.all(landmark)) == 1 for landmark in ("header", "nav", "main", "footer"))
    assert all(image["alt"] for image in page.all("img"))
    drawn = page.all("svg")
    assert all(each["role"] == "img" and (each.get("aria-label") or each["aria-labelledby"]) for each in drawn)
    assert len(page.all("table")) == len(page.all("caption")) > 0
    assert all(header["scope"] in ("col", "row") for header in page.all("th"))
    labels = " ".join(attributes.get("aria-labelledby", "") for _, attributes in page.tags)
    assert set(labels.split()) <= set(ids_of(page))


def test_a_page_is_as_wide_as_its_device(page):
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")


def test_links_of_a_page_lead_to_its_parts_in_their_order(page):
    ids = ids_of(page)
    assert len(ids) == len(set(ids))
    links = [link["href"].removeprefix("#") for link in page.all("a")]
    assert set(links) <= set(ids)
    places = [ids.index(link) for link in links[1:]]  # without the skip link
    assert len(places) > 4
    assert places == sorted(places)


def test_a_page_loads_nothing(page):
    assert not {"script", "link", "iframe", "object", "form", "base"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcset")], tag
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))


def test_a_page_holds_no_address_of_the_web():
    assert re.findall(r"https?:|//\w", report.html(samples.failed())) == []


def test_the_policy_admits_the_one_style_sheet_by_its_hash():
    digest = base64.b64encode(hashlib.sha256(css().encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy(css())
    assert {"http-equiv": "Content-Security-Policy", "content": policy(css())} in page_of(samples.passed).all("meta")
    assert policy("").startswith("default-src 'none';")


@pytest.mark.parametrize("theme", [r":root \{(.*?)\n\}", r"dark\) \{\s*:root \{(.*?)\}"], ids=["light", "dark"])
def test_colours_stand_out_from_their_ground(theme):
    """WCAG 2.2: at least 4.5 to 1 for text (1.4.3), 3 to 1 for bars, lines and marks (1.4.11)."""
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", re.search(theme, css(), re.S)[1]))
    verdicts = ("pass", "fail", "inconclusive")
    grounds = ("paper", "card", *(f"{verdict}-paper" for verdict in verdicts))
    text = [*itertools.product(("ink", "soft", "link"), grounds), *itertools.product(verdicts, ("paper", "card"))]
    text += [*((verdict, f"{verdict}-paper") for verdict in verdicts), ("ink", "track"), ("ink", "code")]
    marks = [*itertools.product(("before", "after", "fail"), ("track",))]  # fail: limits
    marks += itertools.product(("reach", "clean-point", "triggered-point", "target-point"), ("card",))
    marks += itertools.product(("after", "clip", "self"), ("paper",))
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for pairs, least in ((text, 4.5), (marks, 3)):
        assert [pair for pair in pairs if contrast(*(colours[name] for name in pair)) < least] == []


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_rounds_of_an_unlearning_are_told_in_order():
    text = page_of(samples.unlearned).text
    places = [text.index(word) for word in ("93.1 %", "after 1 round", "87.4 %", "after 2 rounds")]
    assert places == sorted(places)
    assert "after 1 round" not in page_of(samples.passed).text


def trained_with(loss_of_views):
    result = samples.passed()
    result["recipe"]["resolved"] = {"loss": {"clip_weight": 1.0, "self_supervised_weight": 0.3}}
    for entry in result["training"]["losses"]:
        entry["self_supervised"] = loss_of_views
    return result


def test_a_loss_of_second_views_is_told_as_a_part_of_the_sum():
    assert "= 1 × L_CLIP + 0.3 × L_SS" in Page(report.html(trained_with(0.5))).text
    assert "× L_SS" not in Page(report.html(trained_with(None))).text


def test_the_sum_of_losses_is_not_told_of_a_candidate_whose_weights_are_unknown():
    made = trained_with(0.5) | {key: samples.chosen_by_auto()[key] for key in ("auto", "cleaning")}
    assert "× L_SS" not in Page(report.html(made)).text


@pytest.mark.parametrize("steps", [[], [3]])
def test_a_page_of_too_few_losses_for_a_curve_is_closed(steps):
    result = trained_with(None)
    result["training"]["losses"] = [{"step": step, "loss": 1.0, "lr": 0.1} for step in steps]
    assert Page(report.html(result)).faults == []


@functools.cache
def page_of_limits():
    result = samples.passed()
    thresholds = {"max_excess": 0.05, "max_accuracy_loss": 0.02}
    result["policy"] = {"name": "p", "sha256": "9d" * 32, "resolved": {"thresholds": thresholds}}
    return Page(report.html(result))


def test_bars_have_the_length_of_their_share():
    lengths = [bar["width"] for bar in page_of_limits().all("rect") if bar["class"] != "track"]
    # accuracy 62.1 and 61.2 %, then attack success 981/990 and 9/990; distances 1.62 and 0.21 of 2
    assert lengths[:4] == ["62.10%", "61.20%", "99.09%", "0.91%"]
    assert lengths[12:14] == ["81.00%", "10.50%"]


def test_a_limit_of_bars_lies_at_its_threshold():
    # 62.1 % before less two points, and the limit of the excess
    limits = [line["x1"] for line in page_of_limits().all("line") if line["class"] == "limit"]
    assert limits == ["60.10%", "5.00%"]


def test_a_drawing_of_a_size_is_told_in_words():
    svgs = page_of(searches.backdoored).all("svg")
    words = [attributes["aria-label"] for attributes in svgs if attributes.get("class") == "bars size"]
    assert all(figure in words[0] for figure in ("2.1 %", "9.0 to 14.0 %", "20 %"))
    assert "–" in words[3]  # that search ended without success: it found nothing


def test_a_range_is_drawn_beside_each_size_that_has_a_reference():
    assert sum(rect["class"] == "range" for rect in page_of(searches.backdoored).all("rect")) == 3


def test_the_points_of_a_map_are_counted_in_words():
    assert "(240)" in page_of(searches.backdoored).text


def test_commands_name_the_folder_of_the_weights():
    text = Page(report.html(samples.passed(), IMAGES, RunPaths("out/my model"))).text
    assert ("clipclean verify 'out/my model'" in text, '("local-dir:out/my model")' in text) == (True, True)


def test_a_command_quotes_a_hostile_name():
    result = searches.backdoored()
    result["suspects"][0]["class"] = "x; rm -rf ~ `id` $(id)"
    text = Page(report.html(result, IMAGES, RunPaths("", "m.pt"))).text
    assert f"--trigger {samples.SPEC} --target 'x; rm -rf ~ `id` $(id)'" in text


def test_an_option_within_a_sentence_is_set_as_code():
    assert "<code>--reference</code>" in report.html(searches.backdoored())


def test_a_long_list_of_found_triggers_is_folded_after_the_first_eight():
    result = searches.backdoored()
    result["measurements"]["search"]["found"] = [searches.mask(f"kind {number}") for number in range(24)]
    first, _, rest = report.html(result).partition("<details><summary>The other 16</summary>")
    assert ("kind 7</bdi></span>" in first, "kind 8</bdi></span>" in first) == (True, False)
    assert all(f"<bdi>kind {number}</bdi></span>" in rest for number in range(8, 24))
