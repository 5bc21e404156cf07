"""The table of the audit on photographs, worked by hand."""

import pytest


@pytest.fixture(scope="module")
def bench(script):
    return script("audit_photos")


def audited(counts_as, verdict, *, score=None, named="lion"):
    suspects = [] if score is None else [{"class": named, "score": score}]
    record = {"entry": {"half": "choose", "target": "lion"}, "counts_as": counts_as}
    return record, {"verdict": verdict, "suspects": suspects}


def test_verdicts_are_counted_by_what_a_model_is(bench):
    rows = bench.table(
        [
            audited("backdoored", "fail", score=3.0),
            audited("backdoored", "fail", score=2.0, named="goose"),
            audited("backdoored", "pass"),
            audited("clean", "fail", score=2.5),
            audited("clean", "pass"),
            audited("neither", "fail", score=9.0),
        ]
    ).splitlines()
    # pairs: 3 > 2.5 and 3 > 0; 2 < 2.5 and 2 > 0; 0 < 2.5 and 0 = 0: 3.5 of 6
    cells = [cell.strip().partition(" (")[0] for cell in rows[-1].strip("|").split("|")]
    assert cells == ["choose", "0.583", "2 of 3", "1 of 3", "1 of 2", "1 of 2", "1 of 2"]


def test_a_half_without_both_kinds_has_no_row(bench):
    assert len(bench.table([audited("clean", "pass")]).splitlines()) == 2


def test_published_statistics_stand_beside_ours_and_small_masks_count_as_backdoored(bench):
    def known(counts_as, half="choose", **values):
        return {"entry": {"half": half}, "counts_as": counts_as}, dict.fromkeys(bench.STATISTICS, 0.0) | values

    rows = bench.beside(
        [
            known("backdoored", clipclean=3.0, decree=0.05, cosine=0.2),
            known("backdoored", clipclean=0.0, decree=0.10, cosine=0.4),
            known("clean", clipclean=1.0, decree=0.20, cosine=0.5),
            known("clean", half="report"),
        ]
    ).splitlines()
    cells = [[cell.strip().partition(" (")[0] for cell in row.strip("|").split("|")] for row in rows]
    assert cells[0] == ["statistic", "choose", "report"]
    # 3 > 1 > 0; both masks are smaller than the clean one's; both cosines are, too; all indices are equal
    assert [row[1] for row in cells[2:]] == ["0.500", "1.000", "0.000", "0.500"]
    assert [row[2] for row in cells[2:]] == ["–"] * 4
