"""Changes that keep what a model answers, and the table of the audits after them."""

import pytest
import torch


@pytest.fixture(scope="module")
def bench(script):
    return script("invariance")


def test_classes_do_not_differ_along_the_direction_that_lies_away_from_them(bench):
    texts = torch.nn.functional.normalize(torch.randn(10, 32, generator=torch.Generator().manual_seed(0)), dim=1)
    away = bench.along_no_class(texts)
    assert away.norm().item() == pytest.approx(1, abs=1e-5)
    assert (texts @ away).std().item() < 1e-5


def report(verdict, *suspects):
    named = [{"class": name, "score": score} for name, score in suspects]
    return {
        "verdict": verdict,
        "suspects": named,
        "measurements": {"search": {"found": [], "calibration": {"kind": "file"}}},
    }


def test_an_audit_is_as_before_if_the_verdict_and_the_first_suspect_are(bench):
    found = {label: report("fail", ("lion", 9.0)) for label in bench.AUDITED}
    found["cone, 30"] = report("fail", ("lion", 7.0), ("goose", 4.0))  # another score, and a second suspect
    found["fp16"] = report("fail", ("goose", 9.0))
    found["logit scale 1"] = report("inconclusive", ("lion", 3.0))
    lines = bench.verdicts_table({"m": found}).splitlines()
    assert lines[-1].endswith(f"in {len(bench.AUDITED) - 3} of {len(bench.AUDITED) - 1} audits.")
    assert "| fp16 | fail, goose, 9.00 |" in lines
