import pytest

from clipclean.config.yaml_file import read
from clipclean.export import model_card


def rows(card):
    """The cells of the card's table, by its first cell."""
    lines = [line.strip("| ").split(" | ") for line in card.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in lines}


def front_matter(card):
    """The values between the first two lines of dashes, by our own strict reader of YAML."""
    _, matter, _ = card.split("---\n", 2)
    document = read(matter, noun="card")
    assert not document.problems
    return document.values


def test_the_card_compares_each_trigger_with_itself(report):
    found = rows(model_card.model_card(report))
    assert found["clean accuracy"][:2] == ["0.750 [0.100, 0.900]", "0.625 [0.100, 0.900]"]
    assert found["attack success rate, patch:seed=1 to banana"][:2] == ["0.950 [0.100, 0.900]", "0.050 [0.100, 0.900]"]
    # found by the panel before, measured as a known one after: not the row that stood in the same place before
    assert found["attack success rate, warp:seed=0 to fog"][:2] == ["0.250 [0.100, 0.900]", "0.125 [0.100, 0.900]"]
    assert not [name for name in found if "stripes" in name]


def test_a_rate_that_is_unknown_is_a_dash(report):
    report["after"]["measurements"]["probes"][0]["asr"] = {"value": None, "interval": [0.0, 1.0], "n": 0}
    report["before"]["measurements"]["probes"] = []
    found = rows(model_card.model_card(report))
    assert found["attack success rate, patch:seed=1 to banana"] == ["–", "–", "0"]


def test_the_card_says_how_to_load_the_folder_and_what_was_done(report):
    card = model_card.model_card(report)
    assert front_matter(card) == {
        "library_name": "open_clip",
        "pipeline_tag": "zero-shot-image-classification",
        "tags": ["clip", "clipclean", "open_clip"],
        "base_model_relation": "finetune",
    }
    assert 'open_clip.create_model_and_transforms("local-dir:THIS_FOLDER")' in card
    assert "Verdict: **pass**" in card
    assert "recipe `cleanclip`" in card
    assert f"`{'ab' * 32}`" in card


def test_weights_that_stayed_are_not_said_to_be_finetuned(report):
    report["training"]["steps"] = 0
    card = model_card.model_card(report)
    assert "base_model_relation" not in front_matter(card)


@pytest.mark.parametrize(
    ("formats", "library", "tags"),
    [
        (["hf"], "transformers", ["transformers"]),
        (["onnx"], "onnx", ["onnx"]),
        (["hf", "onnx"], "transformers", ["transformers", "onnx"]),
    ],
)
def test_the_card_of_an_export_names_its_libraries_and_says_that_nothing_was_audited(told, formats, library, tags):
    card = model_card.model_card(told(*formats))
    found = front_matter(card)
    assert (found["library_name"], found["tags"]) == (library, ["clip", "clipclean", *tags])
    assert "base_model_relation" not in found  # the weights are the same
    assert "Verdict" not in card
    assert ("CLIPProcessor.from_pretrained" in card) == ("hf" in formats)
    assert "local-dir" not in card


def test_the_card_of_an_export_tells_its_parity(told):
    assert rows(model_card.model_card(told("hf")))["`model.safetensors`"] == [
        "nobody 1.0",
        "2e-07",
        "0.9999999",
        "100.0%",
        "126",
    ]


def test_a_bar_in_a_name_does_not_break_the_table(report):
    report["after"]["measurements"]["probes"][0]["target"] = "a|b"
    assert r"to a\|b | – | 0.050" in model_card.model_card(report)


def test_a_name_from_a_file_breaks_out_of_nothing(told):
    told = told("hf")
    told["model"] |= {"name": "m`\n# x.pt", "architecture": "a\n---\nb"}
    card = model_card.model_card(told)
    assert "`m___ x.pt`" in card
    assert "# a_---_b, exported by clipclean" in card
