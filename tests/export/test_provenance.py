import hashlib
import json
import platform

import open_clip
import pytest
import torch

from clipclean import export


def rate(value, n=100):
    return {"value": value, "interval": [0.1, 0.9] if value is not None else [0.0, 1.0], "n": n}


def probe(trigger, target, asr, *, known):
    return {"trigger": trigger, "target": target, "asr": rate(asr), "known": known}


def audited(accuracy, probes):
    return {"measurements": {"clean_accuracy": rate(accuracy), "probes": probes}}


@pytest.fixture
def report():
    """The named trigger stands first before and after; the panel's order has changed, as it does."""
    named = "patch:seed=1", "banana"
    return {
        "tool": {"name": "clipclean", "version": "1"},
        "model": {"name": "m.pt", "architecture": "ViT-B-32", "sha256": "ab" * 32},
        "recipe": {"name": "cleanclip"},
        "data": {"pairs": 48, "digest": "cd" * 32},
        "seed": 3,
        "verdict": "pass",
        "training": {"seconds": 12.0},
        "before": audited(
            0.75,
            [
                probe(*named, 0.95, known=True),
                probe("stripes:seed=0", "zebra", 0.5, known=False),
                probe("warp:seed=0", "fog", 0.25, known=False),
            ],
        ),
        "after": audited(
            0.625,
            [
                probe(*named, 0.05, known=True),
                probe("warp:seed=0", "fog", 0.125, known=True),
                probe("stripes:seed=0", "lion", 0.375, known=False),
            ],
        ),
    }


def test_versions_and_hardware_are_those_of_this_process():
    found = export.versions()
    assert found["python"] == platform.python_version()
    assert (found["torch"], found["open_clip_torch"]) == (torch.__version__, open_clip.__version__)
    machine = export.hardware("cpu")
    assert machine["device"] == "cpu"
    assert machine["threads"] == torch.get_num_threads()
    assert platform.node() not in json.dumps(machine).split('"')


def test_the_record_holds_what_went_in_and_out_and_no_time(report):
    outputs = {"open_clip_model.safetensors": "ef" * 32}
    text = export.record(report, environment={"python": "3"}, outputs=outputs)
    record = json.loads(text)
    assert record["input"] == report["model"]
    assert record["outputs"] == outputs
    assert record["clean_accuracy"] == {"before": rate(0.75), "after": rate(0.625)}
    assert (record["seed"], record["verdict"]) == (3, "pass")
    assert "seconds" not in text


def test_equal_runs_give_equal_records(report):
    slower = report | {"training": {"seconds": 99.0}}
    settings = {"environment": {"a": 1, "b": 2}, "outputs": {"x": "1", "y": "2"}}
    turned = {name: dict(reversed(values.items())) for name, values in settings.items()}
    assert export.record(report, **settings) == export.record(dict(reversed(slower.items())), **turned)


def test_checksums_are_those_of_sha256sum_sorted_by_name(tmp_path):
    for name in ("b", "a", "SHA256SUMS"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "c").write_text("c")
    digests = [hashlib.sha256(name.encode()).hexdigest() for name in "abc"]
    assert export.checksums(tmp_path) == f"{digests[0]}  a\n{digests[1]}  b\n{digests[2]}  folder/c\n"


def rows(card):
    """The cells of the card's table, by its first cell."""
    lines = [line.strip("| ").split(" | ") for line in card.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in lines}


def test_the_card_compares_each_trigger_with_itself(report):
    found = rows(export.model_card(report))
    assert found["clean accuracy"][:2] == ["0.750 [0.100, 0.900]", "0.625 [0.100, 0.900]"]
    assert found["attack success rate, patch:seed=1 to banana"][:2] == ["0.950 [0.100, 0.900]", "0.050 [0.100, 0.900]"]
    # found by the panel before, measured as a known one after: not the row that stood in the same place before
    assert found["attack success rate, warp:seed=0 to fog"][:2] == ["0.250 [0.100, 0.900]", "0.125 [0.100, 0.900]"]
    assert not [name for name in found if "stripes" in name]


def test_a_rate_that_is_unknown_is_a_dash(report):
    report["after"]["measurements"]["probes"][0]["asr"] = rate(None, n=0)
    report["before"]["measurements"]["probes"] = []
    assert rows(export.model_card(report))["attack success rate, patch:seed=1 to banana"] == ["–", "–", "0"]


def test_the_card_says_how_to_load_the_folder_and_what_was_done(report):
    card = export.model_card(report)
    assert card.startswith("---\nlibrary_name: open_clip\n")
    assert 'open_clip.create_model_and_transforms("local-dir:THIS_FOLDER")' in card
    assert "Verdict: **pass**" in card
    assert "recipe `cleanclip`" in card
    assert f"`{'ab' * 32}`" in card


def test_a_bar_in_a_name_does_not_break_the_table(report):
    report["after"]["measurements"]["probes"][0]["target"] = "a|b"
    assert r"to a\|b | – | 0.050" in export.model_card(report)
