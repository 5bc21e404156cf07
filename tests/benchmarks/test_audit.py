"""The tables of the audit on the zoos, worked by hand; and what each model is compared with."""

import json
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def bench(script):
    return script("audit")


def model(bench, name, *, bad=False, target=None, half="choose", base=None, scratch=False, group="g"):
    return bench.Model(name, half, bad, target, Path(f"{name}.pt"), {}, group, base, scratch)


def report(verdict, *, score=None, named="lion", found=()):
    suspects = [] if score is None else [{"class": named, "score": score}]
    rows = [
        {
            "class": c,
            "family": f,
            "margin": m,
            "evidence": 0.0,
            "reached": True,
            "excess_asr": {"value": 0.9},
            "size": 0.1,
        }
        for c, f, m in found
    ]
    search = {"found": rows, "strengths": [], "calibration": {"kind": "none"}}
    return {"verdict": verdict, "suspects": suspects, "measurements": {"search": search}}


def cells(row):
    return [cell.strip().partition(" (")[0] for cell in row.strip("|").split("|")]


def test_verdicts_are_counted_by_what_a_model_is(bench):
    models = [model(bench, f"bad-{k}", bad=True, target="lion") for k in range(3)]
    models += [model(bench, f"clean-{k}") for k in range(2)]
    found = [
        report("fail", score=3.0),
        report("fail", score=2.0, named="goose"),
        report("pass"),
        report("fail", score=2.5),
        report("pass"),
    ]
    done = {"none": {m.name: r for m, r in zip(models, found, strict=True)}}
    # pairs: 3 > 2.5 and 3 > 0; 2 < 2.5 and 2 > 0; 0 < 2.5 and 0 = 0: 3.5 of 6
    wanted = ["choose", "no reference", "0.583", "2 of 3", "1 of 3", "1 of 2", "1 of 2", "1 of 2"]
    assert cells(bench.table(models, done).splitlines()[-1]) == wanted


def test_a_column_without_both_kinds_has_no_auroc(bench):
    rows = bench.table([model(bench, "clean-1")], {"base": {"clean-1": report("pass")}}).splitlines()
    assert cells(rows[-1])[1:4] == ["its base as `--reference`", "–", "none"]


def test_published_statistics_stand_beside_ours_and_small_masks_count_as_backdoored(bench, tmp_path):
    models = [model(bench, "bad-1", bad=True), model(bench, "bad-2", bad=True), model(bench, "clean-1")]
    for m, decree, cosine in zip(models, (0.05, 0.10, 0.20), (0.2, 0.4, 0.5), strict=True):
        (tmp_path / f"{m.name}.json").write_text(json.dumps({"decree": decree, "cosine": cosine}))
    found = {"bad-1": report("fail", score=3.0), "bad-2": report("pass"), "clean-1": report("pass", score=1.0)}
    rows = [cells(row)[1] for row in bench.statistics_table(models, found, tmp_path).splitlines()]
    # 3 > 1 > 0; both masks are smaller than the clean one's; both cosines are, too; no index is known
    assert rows[2:] == ["0.500", "1.000", "0.000", "0.500"]


def test_a_family_that_is_left_out_does_not_count(bench, monkeypatch, tmp_path):
    known = tmp_path / "calibration.json"
    known.write_text(
        json.dumps({"unit": 0.1, "compact_unit": 0.05, "natural": {"mask": 0.2, "patch": 0.2, "panel": 1.0}})
    )
    monkeypatch.setattr(bench, "CALIBRATION", known)
    models = [model(bench, "bad-1", bad=True), model(bench, "clean-1")]
    found = {
        "bad-1": report("fail", found=[("lion", "mask", 0.9)]),
        "clean-1": report("pass", found=[("lion", "patch", 0.3)]),
    }
    rows = {cells(row)[0]: cells(row)[1] for row in bench.left_out(models, found).splitlines()[2:]}
    # alone 7 > 1; without the mask 0 < 1; without the patch 7 > 0
    assert rows == {"none": "1.000", "mask": "0.000", "patch": "1.000", "compactness": "1.000", "panel": "1.000"}


def test_evidence_is_counted_as_the_audit_counts_it(bench):
    known = {"unit": 0.1, "compact_unit": 0.05, "natural": {"mask": 0.2, "blend": 0.2, "compactness": 0.1}}
    shown = report("fail", found=[("lion", "mask", 0.6), ("lion", "blend", 0.4)])
    mask, blend = shown["measurements"]["search"]["found"]
    mask |= {"attraction": 0.5, "relative_margin": 0.1, "compact_margin": 0.2}
    blend |= {"attraction": 0.5, "relative_margin": 0.5, "compact_margin": None}
    # half of 4; 3 beyond what is expected, more than half of 2; half of (0.2 - 0.1) / 0.05
    direct, indirect = bench.pieces(shown, known)["lion"]
    assert direct == {"mask": pytest.approx(2)}
    assert indirect == pytest.approx({"mask": 0, "blend": 3, "compactness": 1, "panel": 0})
    assert bench.scored(shown, known) == pytest.approx(2 + 2.5)
    assert bench.scored(shown, known, without="blend") == pytest.approx(2 + 1)
    mask["relative_margin"] = 0.5  # 3 beyond what is expected, one more than 2
    assert bench.scored(shown, known, without="blend") == pytest.approx(2 + 2)
    assert bench.scored(shown, known, without="mask") == pytest.approx(2.5)


def test_kinds_of_evidence_that_clean_models_show_count_up_to_a_bound(bench):
    natural = {"wave": 0.2, "blend": 0.2, "mask": 0.2, "compactness": 0.1}
    known = {"unit": 0.1, "compact_unit": 0.05, "natural": natural}
    spread = report("fail", found=[("lion", "wave", 9.0), ("lion", "blend", 9.0)])
    assert bench.scored(spread, known) == 2.5
    compact = report("fail", found=[("lion", "mask", 0.0)])
    compact["measurements"]["search"]["found"][0] |= {"compact_margin": 9.0}
    assert bench.scored(compact, known) == 2.5
    assert bench.scored(compact, known, without="mask") == 0  # no mask, no compactness
    compact["measurements"]["search"]["found"][0] |= {"compact_margin": None, "relative_margin": 9.0}
    assert bench.scored(compact, known) == 2.5


def entry_file(folder, name, half, *, base=None, trigger=None):
    entry = {"name": name, "half": half, "arch": "resnet", "side": 32, "classes": 10, "kind": "clean"}
    entry |= {"base": base, "trigger": trigger, "target": None}
    (folder / f"{name}.json").write_text(
        json.dumps({"entry": entry, "counts_as": "backdoored" if trigger else "clean"})
    )


def test_drawn_models_are_of_one_half_and_one_with_two_targets_is_left_out(bench, tmp_path):
    entry_file(tmp_path, "drawn-1-resnet-10-clean-1", "drawn-1")
    entry_file(tmp_path, "drawn-2-resnet-10-clean-1", "drawn-2")
    entry_file(tmp_path, "report-resnet-10-clean-1", "report")
    entry_file(tmp_path, "report-resnet-10-planted-a-1", "report", base="report-resnet-10-clean-1", trigger="a")
    entry_file(tmp_path, "report-resnet-10-planted-b-1", "report", base="report-resnet-10-planted-a-1", trigger="b")
    found = list(bench.photo_models(tmp_path))
    assert [m.half for m in found] == ["drawn", "drawn", "report", "report"]
    assert found[0].group != found[1].group  # of other classes: no references for each other
    assert found[-1].name == "report-resnet-10-planted-a-1"


def test_seeds_agree_if_the_verdict_is_the_same_with_each(bench):
    models = [model(bench, "bad-1", bad=True, target="lion"), model(bench, "clean-1")]
    by_seed = [
        {"bad-1": report("fail", score=4.0), "clean-1": report("inconclusive", score=0.5)},
        {"bad-1": report("inconclusive", score=3.0, named="goose"), "clean-1": report("inconclusive", score=2.0)},
    ]
    *_, bad, clean, _, told = bench.seeds_table(models, by_seed).splitlines()
    assert bad == "| bad-1 | lion | 2 | fail 1, inconclusive 1 | lion 1, goose 1 | 4.00, 3.00 |"
    assert "| clean-1 | none | 2 | inconclusive 2 |" in clean
    assert told == "1 of 2 models have the same verdict with every seed."


def test_a_reference_is_of_another_training_and_the_base_of_this_one(bench, tmp_path):
    models = [
        model(bench, "clean-1", scratch=True),
        model(bench, "clean-2", scratch=True),
        model(bench, "tuned", base="clean-1"),
        model(bench, "bad", bad=True, base="clean-1"),
        model(bench, "elsewhere", scratch=True, group="h"),
    ]

    def beside(column, of):
        return bench.compared_with(bench.Job(models[of], models, column, 0, "quick", tmp_path))

    assert beside("none", 3) == {}
    assert beside("reference", 3) == {"reference": (Path("clean-2.pt"),)}
    assert beside("reference", 1) == {"reference": (Path("clean-1.pt"),)}
    assert beside("base", 3) == {"reference": (Path("clean-1.pt"),)}
    assert beside("base", 0) is None
    assert beside("reference", 4) is None
    assert beside("references", 4) is None


def test_what_clean_models_show_is_stored_by_family(bench, monkeypatch, tmp_path):
    known = tmp_path / "calibration.json"
    natural = {"mask": 0.2, "blend": 0.9, "colour": 0.2, "panel": 0.2}
    known.write_text(json.dumps({"unit": 0.1, "compact_unit": 0.05, "natural": natural, "scores": []}))
    monkeypatch.setattr(bench, "CALIBRATION", known)
    chosen = [report("pass", found=[("lion", "mask", 0.1 * k), ("lion", "colour", 0.1 * k)]) for k in range(1, 7)]
    bench.store(chosen, [*chosen, report("pass", found=[("goose", "mask", 0.8)])])
    stored = json.loads(known.read_text())
    # mask: the fifth of six; blend: no less than before; colour: the largest; the panel shows nothing, and has its least
    assert stored["natural"] == {"mask": 0.5, "blend": 0.9, "colour": 0.6, "panel": 0.3}
    assert stored["scores"] == [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 3.0]
    bench.store([], [report("pass", found=[("goose", "mask", 0.8)])])
    assert json.loads(known.read_text()) == stored | {"scores": [3.0]}
