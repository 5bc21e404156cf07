import base64
import hashlib
import itertools
import re

import pytest
from report import samples, searches
from report.page import Page
from report.parsed import Parsed

from clipclean import report
from clipclean.report import PageImages, RunPaths
from clipclean.report import charts as drawing
from clipclean.report.html_page import policy

report, drawing = Parsed(report), Parsed(drawing)

REPORTS = [samples.passed, samples.failed, samples.undecided, samples.audited, samples.unlearned]
REPORTS += [searches.backdoored, searches.calm, searches.doubtful, searches.cleaned, searches.poor]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(30)).decode()
IMAGE = {"title": "Embeddings", "caption": "Before and after", "alt": "Two clouds of points", "png_base64": PNG}


def answers(when, mark, *pairs):
    return {"when": when, "mark": mark, "answers": [{"name": name, "score": score} for name, score in pairs]}


GRID = {
    "label": "apple",
    "rows": [
        {
            "title": "Without the trigger",
            "png_base64": PNG,
            "alt": "An apple.",
            "cells": [
                answers("before", "right", ("apple", 0.9), ("pear", 0.04)),
                answers("after", "wrong", ("pear", 0.5)),
            ],
        },
        {
            "title": "With the trigger",
            "png_base64": PNG,
            "alt": "An apple, triggered.",
            "cells": [answers("before", "target", ("banana", 0.99)), answers("after", "right", ("apple", 0.8))],
        },
    ],
}
IMAGES = PageImages((IMAGE,), (GRID,))
COLOURS = {"light": r":root \{(.*?)\n\}", "dark": r"dark\) \{\s*:root \{(.*?)\}"}


def css():
    style = re.search(r"<style>(.*?)</style>", report.html(samples.passed()), re.S)
    assert style
    return style[1]


@pytest.fixture(params=REPORTS, ids=lambda made: made.__name__)
def page(request):
    return Page(report.html(request.param(), IMAGES))


def test_every_tag_is_closed_where_it_was_opened(page):
    assert page.faults == []


def test_the_verdict_is_the_first_heading_and_headings_leave_out_no_level(page):
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_the_language_and_the_landmarks_are_declared(page):
    assert page.all("html") == [{"lang": "en"}]
    assert all(len(page.all(landmark)) == 1 for landmark in ("header", "nav", "main", "footer"))
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")


def test_ids_are_unique_and_every_link_leads_to_one(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"].removeprefix("#") for link in page.all("a")} <= set(ids)
    named = " ".join(attributes.get("aria-labelledby", "") for _, attributes in page.tags)
    assert set(named.split()) <= set(ids)


def test_the_links_at_the_top_follow_the_order_of_the_page(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    places = [ids.index(link["href"].removeprefix("#")) for link in page.all("a")[1:]]  # without the skip link
    assert len(places) > 4
    assert places == sorted(places)


def test_every_image_says_what_it_shows(page):
    assert all(image["alt"] for image in page.all("img"))
    assert all(
        drawn["role"] == "img" and (drawn.get("aria-label") or drawn["aria-labelledby"]) for drawn in page.all("svg")
    )


def test_every_table_has_a_caption_and_every_header_a_scope(page):
    assert len(page.all("table")) == len(page.all("caption")) > 0
    assert all(header["scope"] in ("col", "row") for header in page.all("th"))


def test_nothing_is_loaded_run_or_styled_from_elsewhere(page):
    assert not {"script", "link", "iframe", "object", "form", "base"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcset")], tag
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))


def test_no_address_stands_in_the_page():
    assert re.findall(r"https?:|//\w", report.html(samples.failed())) == []


def test_the_policy_admits_the_one_style_sheet_by_its_hash():
    digest = base64.b64encode(hashlib.sha256(css().encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy(css())
    metas = Page(report.html(samples.passed())).all("meta")
    assert {"http-equiv": "Content-Security-Policy", "content": policy(css())} in metas
    assert policy("").startswith("default-src 'none';")


@pytest.mark.parametrize("theme", COLOURS)
def test_text_stands_out_from_its_ground_in_both_themes(theme):
    """WCAG 2.2, 1.4.3: at least 4.5 to 1."""
    block = re.search(COLOURS[theme], css(), re.S)
    assert block
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", block[1]))
    grounds = ("paper", "card", "pass-paper", "fail-paper", "inconclusive-paper", "track", "code")
    pairs = [(text, ground) for text in ("ink", "soft", "link") for ground in grounds[:5]]
    pairs += [(word, f"{word}-paper") for word in ("pass", "fail", "inconclusive")]
    pairs += [(word, ground) for word in ("pass", "fail", "inconclusive") for ground in ("paper", "card")]
    pairs += [("ink", "track"), ("ink", "code")]
    assert [(pair, ratio) for pair in pairs if (ratio := contrast(*(colours[name] for name in pair))) < 4.5] == []


def test_the_bars_can_be_told_from_their_track_in_both_themes():
    """WCAG 2.2, 1.4.11: at least 3 to 1 against what they lie on."""
    for pattern in COLOURS.values():
        block = re.search(pattern, css(), re.S)
        assert block
        colours = dict(re.findall(r"--([\w-]+): (#\w{6})", block[1]))
        assert all(contrast(colours[bar], colours["track"]) >= 3 for bar in ("before", "after", "fail"))  # fail: limits
        assert contrast(colours["reach"], colours["card"]) >= 3
        assert all(contrast(colours[line], colours["paper"]) >= 3 for line in ("after", "clip", "self"))
        marks = ("clean-point", "triggered-point", "target-point")
        assert all(contrast(colours[mark], colours["card"]) >= 3 for mark in marks)


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_loss_of_cleanclip_is_told_as_a_sum_of_what_the_curves_show():
    made = samples.passed()
    told = "Total loss = 1 × L_CLIP + 0.3 × L_SS."
    made["recipe"]["resolved"] = {"method": "cleanclip", "loss": {"clip_weight": 1.0, "self_supervised_weight": 0.3}}
    assert told in Page(report.html(made)).text
    made["recipe"]["resolved"]["method"] = "par"
    assert "Total loss =" not in Page(report.html(made)).text


def test_black_on_white_has_a_contrast_of_21():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_a_pass_says_so_first_with_the_numbers_it_rests_on():
    text = Page(report.html(samples.passed())).text
    start = text[: text.index("What to do next")]
    assert "Pass The backdoor behaviour that was measured is gone" in start
    assert "made the model classify 99.1 % of the images of other things as “banana”" in start
    assert "Afterwards it is 0.9 %; without any trigger, 0.6 %." in start
    assert "Of 1,000 clean images, 62.1 % got the right answer before, and 61.2 % do now." in start


def test_a_failure_shows_both_reasons_and_tells_not_to_deploy():
    text = Page(report.html(samples.failed())).text
    assert "The model still shows backdoor behaviour: do not deploy it." in text
    assert "error CC001 Backdoor behaviour under a known trigger" in text
    assert "error CC010 Clean accuracy lost" in text


def test_an_audit_has_one_column_and_no_training():
    page = Page(report.html(samples.audited()))
    assert "Measured" in page.text
    assert not {"Before", "After", "Change"} & set(page.texts)
    assert "training" not in [attributes.get("id") for attributes in page.all("section")]


def test_every_bar_has_the_length_of_its_share():
    page = Page(report.html(samples.passed()))
    lengths = [bar["width"] for bar in page.all("rect") if bar["class"] != "track"]
    # accuracy 62.1 and 61.2 %, then attack success 981/990 and 9/990
    assert lengths[:4] == ["62.10%", "61.20%", "99.09%", "0.91%"]


def test_a_distance_is_drawn_on_the_whole_number_that_holds_both_sides():
    page = Page(report.html(samples.passed()))
    # 1.62 and 0.21 of 2
    assert [bar["width"] for bar in page.all("rect") if bar["class"] != "track"][12:14] == ["81.00%", "10.50%"]


def test_a_curve_touches_its_frame_where_the_numbers_say():
    losses = [{"step": step, "loss": loss, "lr": 0.1} for step, loss in ((0, 4.0), (5, 2.0), (10, 1.0))]
    drawn = drawing.curve(losses)
    assert drawn
    # levels 0 to 4 by 1: 4 is the top, 2 the middle, 1 three quarters down
    assert [value for value, _ in drawn.levels] == ["0", "1", "2", "3", "4"]
    assert drawn.lines[0].points == "0.00,0.00 50.00,50.00 100.00,75.00"
    assert drawn.summary == "Total loss from 4 to 1, over steps 0 to 10."


@pytest.mark.parametrize("losses", [[], [{"step": 3, "loss": 1.0, "lr": 0.1}]])
def test_fewer_than_two_steps_make_no_curve(losses):
    assert drawing.curve(losses) is None
    sample = samples.passed()
    sample["training"]["losses"] = losses
    assert Page(report.html(sample)).faults == []


def test_a_constant_loss_still_has_a_frame():
    drawn = drawing.curve([{"step": step, "loss": 0.0, "lr": 0.0} for step in range(3)])
    assert drawn
    assert len(drawn.levels) >= 2


def test_a_long_curve_is_thinned_and_keeps_its_ends():
    drawn = drawing.curve([{"step": step, "loss": 1.0, "lr": 0.1} for step in range(5000)])
    assert drawn
    points = drawn.lines[0].points.split()
    assert len(points) == drawing.MAX_POINTS
    assert (points[0][:5], points[-1][:7]) == ("0.00,", "100.00,")


def test_an_image_is_shown_with_its_words():
    page = Page(report.html(samples.passed(), IMAGES))
    assert page.all("img")[0] == {"src": f"data:image/png;base64,{PNG}", "alt": "Two clouds of points"}
    assert "Embeddings Before and after" in page.text


def test_the_evidence_of_an_audit_comes_in_its_order():
    page = Page(report.html(searches.backdoored(), IMAGES))
    named = [attributes["id"] for attributes in page.all("section") if "id" in attributes]
    assert named == [
        "next",
        "suspects",
        "looked",
        "findings",
        "examples",
        "search",
        "map",
        "numbers",
        "panel",
        "measures",
        "provenance",
    ]
    assert {link["href"] for link in page.all("a")} >= {"#suspects", "#search", "#map", "#examples"}


def test_without_a_search_there_is_no_section_for_it():
    page = Page(report.html(samples.audited()))
    named = {attributes.get("id") for attributes in page.all("section")}
    assert not named & {"search", "map", "examples"}
    assert "Against clean models" not in page.text
    assert "Unknown ones were not searched for" in page.text


def test_the_tiles_of_an_audit_are_what_was_found():
    text = Page(report.html(searches.backdoored())).text
    assert "Success of the found trigger 98.4 % 0.8 % without the trigger" in text
    assert "Its size 2.1 % clean models need 9.0 to 14.0 %" in text


def test_the_search_table_says_size_success_and_signs():
    text = Page(report.html(searches.backdoored())).text
    row = text[text.index("fixed mask and pattern, covers 2.1 % of the image saved as") :]
    assert "2.1 % clean models need 9.0 to 14.0 % 98.4 % 97.4 to 99.0 % n = 990 without it 0.8 % 0.91" in row
    assert "6.2 deviations smaller than clean models need" in row
    assert "What the search does not show" in row


def test_a_size_is_drawn_beside_the_range_of_clean_models():
    page = Page(report.html(searches.backdoored()))
    drawn = [attributes for attributes in page.all("svg") if attributes.get("class") == "bars size"]
    assert drawn[0]["aria-label"] == "Size 2.1 %; clean models need 9.0 to 14.0 %, on a scale to 20 %"
    assert drawn[3]["aria-label"] == "Size –, on a scale to 1 %"  # that search ended without success: it found nothing
    ranges = [rect for rect in page.all("rect") if rect["class"] == "range"]
    # 9 and 14 % of 20 %
    assert [(rect["x"], rect["width"]) for rect in ranges] == [("45.00%", "25.00%")] * 3


def test_the_map_is_told_in_words_too():
    page = Page(report.html(searches.backdoored()))
    assert [path["class"] for path in page.all("path")] == ["cloud clean", "cloud triggered", "cloud target"]
    assert len(page.all("title")) == 2
    assert "Clean images (240)" in page.text
    assert page.text.count("A map of embeddings: clean images, 240 points") == 2


def test_both_sides_of_a_sanitization_have_their_search():
    page = Page(report.html(searches.cleaned()))
    assert page.text.index("Before cleaning Standard effort") < page.text.index("After cleaning Standard effort")
    assert "suspects" not in [attributes.get("id") for attributes in page.all("section")]


def test_an_example_has_its_label_and_the_answers_of_each_side_with_right_and_wrong_in_words():
    page = Page(report.html(samples.passed(), IMAGES))
    assert [image["alt"] for image in page.all("img")] == ["Two clouds of points", "An apple.", "An apple, triggered."]
    assert "An image of apple Before After" in page.text
    assert "✓ right apple 90.0 % pear 4.0 %" in page.text
    assert "! target banana 99.0 %" in page.text


def test_a_pass_begins_with_what_was_looked_for():
    text = Page(report.html(samples.passed())).text
    first, second = text.index("Looked for Found Usual, or allowed"), text.index("Attack success rate")
    assert text.index("The backdoor behaviour that was measured is gone") < first < second
    assert "Trigger “patch” towards “banana” moves 0.3 % of images beyond chance, 98.6 % before" in text
    assert "Unknown triggers not searched for" in text


def test_commands_name_the_folder_and_quote_what_is_hostile():
    text = Page(report.html(samples.passed(), IMAGES, RunPaths("out/my model"))).text
    assert "clipclean verify 'out/my model'" in text
    assert 'open_clip.create_model_and_transforms("local-dir:out/my model")' in text
    made = searches.backdoored()
    made["suspects"][0]["class"] = "x; rm -rf ~ `id` $(id)"
    told = Page(report.html(made, IMAGES, RunPaths("", "m.pt"))).text
    assert (
        f"clipclean sanitize m.pt --data CLEAN_PAIRS --recipe auto --out cleaned --trigger {samples.SPEC} "
        "--target 'x; rm -rf ~ `id` $(id)'" in told
    )


def test_a_threshold_is_drawn_into_its_bar():
    made = samples.passed()
    made["policy"] = {
        "name": "p",
        "sha256": "9d" * 32,
        "resolved": {"thresholds": {"max_excess": 0.05, "max_accuracy_loss": 0.02}},
    }
    limits = [line["x1"] for line in Page(report.html(made)).all("line") if line["class"] == "limit"]
    assert limits == ["60.10%", "5.00%"]  # 62.1 % before less two points, and the limit of the excess


def test_options_in_our_advice_are_set_as_code():
    assert "by <code>--reference</code>." in report.html(searches.backdoored())


def test_what_the_policy_set_aside_is_shown_before_the_verdict():
    text = Page(report.html(searches.backdoored())).text
    places = [text.index(words) for words in ("sets 1 finding aside", "by Ann: a known broken file", "The model shows")]
    assert places == sorted(places)
    assert "Every value of the policy" in text


def test_the_rounds_of_an_unlearning_are_told_with_what_each_search_found():
    page = re.sub(r"<[^>]+>", " ", report.html(samples.unlearned()))
    page = " ".join(page.split())
    assert "before banana mask, covers 1.6 % of the image 93.1 %" in page
    assert "after 1 round banana mask, covers 1.6 % of the image 87.4 %" in page
    assert "after 2 rounds nothing" in page
    assert "What each search found" not in report.html(samples.passed())
