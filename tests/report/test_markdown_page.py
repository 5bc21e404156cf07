from report import samples

from clipclean import report
from clipclean.report.markdown_page import code, escaped


def test_the_verdict_is_the_first_line():
    assert report.markdown(samples.passed()).startswith("## ✅ clipclean: pass\n")
    assert report.markdown(samples.failed()).startswith("## ❌ clipclean: fail\n")
    assert report.markdown(samples.undecided()).startswith("## ⚠️ clipclean: inconclusive\n")


def test_a_rate_is_a_row_with_interval_change_and_n():
    lines = report.markdown(samples.passed()).splitlines()
    row = "| Attack success rate | 99.1 % (98.3 to 99.5 %) | 0.9 % (0.5 to 1.7 %) | −98.2 points | 990 |"
    assert row in lines


def test_an_audit_has_one_column_of_values():
    lines = report.markdown(samples.audited()).splitlines()
    assert "| Attack success rate | 99.1 % (98.3 to 99.5 %) | 990 |" in lines


def test_every_row_of_a_table_has_as_many_cells_as_its_head():
    for made in (samples.passed(), samples.failed(), samples.audited()):
        width = 0
        for line in report.markdown(made).splitlines():
            bars = line.count("|") if line.startswith("|") else 0
            assert not (bars and width) or bars == width
            width = bars


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
