from report import samples, searches
from report.parsed import Parsed

from clipclean import report
from clipclean.report.markdown_page import MAX_BYTES, code, escaped

report = Parsed(report)


def test_the_verdict_is_the_first_line():
    assert report.markdown(samples.passed()).startswith("## ✅ clipclean: pass\n")
    assert report.markdown(samples.failed()).startswith("## ❌ clipclean: fail\n")
    assert report.markdown(samples.undecided()).startswith("## ⚠️ clipclean: inconclusive\n")


def test_a_rate_is_a_row_with_interval_change_and_n():
    lines = report.markdown(samples.passed()).splitlines()
    row = (
        "| Attack success rate | 99.1 % (98.3 to 99.5 %; n = 990) | 0.9 % (0.5 to 1.7 %; n = 990) "
        "| −98.2 points (lower is better) |"
    )
    assert row in lines


def test_an_audit_has_one_column_of_values():
    lines = report.markdown(samples.audited()).splitlines()
    assert "| Attack success rate | 99.1 % (98.3 to 99.5 %; n = 990) |" in lines


def test_every_row_of_a_table_has_as_many_cells_as_its_head():
    for made in (samples.passed(), samples.failed(), samples.audited(), searches.backdoored(), searches.cleaned()):
        width = 0
        for line in report.markdown(made).splitlines():
            bars = line.count("|") if line.startswith("|") else 0
            assert not (bars and width) or bars == width
            width = bars


def test_a_found_trigger_is_a_row_with_what_clean_models_need():
    row = (
        "| <code>banana</code> | fixed mask and pattern, covers 2.1 % of the image | 2.1 % (clean models need 9.0 to 14.0 %) "
        "| 98.4 % (97.4 to 99.0 %; n = 990; without it 0.8 %) | 0.91 (without it 0.19) | 6.2 deviations smaller than clean models need; "
        "8.1 deviations smaller than the other classes need |"
    )
    assert row in report.markdown(searches.backdoored()).splitlines()


def test_the_verdict_stands_before_the_suspects_and_these_before_the_search():
    text = report.markdown(searches.backdoored())
    places = [
        text.index(words)
        for words in (
            "sets 1 finding aside",
            "by Ann: a known",
            "## ❌",
            "### Suspects",
            "### Findings",
            "### Search",
            "### Next",
        )
    ]
    assert places == sorted(places)
    assert "| <code>banana</code> | 8.10 | fixed mask and pattern" in text


def test_a_report_without_a_search_has_neither_table_nor_heading_of_one():
    text = report.markdown(samples.audited())
    assert "### Search" not in text
    assert text.startswith("## ")
    assert "### Suspects" in text
    assert "### Suspects" not in report.markdown(samples.passed())


def test_a_long_report_fits_a_step_summary_and_says_that_it_was_cut():
    made = searches.backdoored()
    for name, key in (("found", "class"), ("controls", "class")):
        entries = made["measurements"]["search"][name]
        made["measurements"]["search"][name] = [entry | {key: "`" * 2000} for entry in entries] * 500
    made["findings"] = [finding | {"message": "é" * 2000} for finding in made["findings"]] * 500
    made["suspects"] = [{"class": "<" * 2000, "score": 1.0}] * 1000
    probes = made["measurements"]["probes"]
    made["measurements"]["probes"] = [p | {"trigger": f"{i}{'|' * 1990}"} for i in range(300) for p in probes]
    text = report.markdown(made)
    assert len(text.encode()) < 2**20
    assert MAX_BYTES < 2**20
    assert text.rstrip().endswith("The other forms of the report have it.")
    assert text.count("<details>") == text.count("</details>")
    assert "And 400 more" not in text
    assert " more." in text


def test_digests_are_given_in_full():
    text = report.markdown(samples.passed())
    assert all(digest * 32 in text for digest in ("a3", "0b", "5c", "77", "e1"))


def test_markup_is_shown_as_text():
    assert escaped("a|b <i> [x](y) _z_ `c`") == "a\\|b \\<i\\> \\[x\\](y) \\_z\\_ \\`c\\`"
    assert code("a|b") == "<code>a\\|b</code>"


def test_nobody_is_mentioned_and_nothing_becomes_a_link():
    assert "@team" not in escaped("@team")
    assert "://" not in escaped("https://evil.example")
    assert "www.e" not in escaped("www.evil.example")
