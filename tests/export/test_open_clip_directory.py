import json
import subprocess
from dataclasses import asdict, replace

import clips
import pytest
import torch
from clips import build, unlike
from report import samples

from clipclean.config.yaml_file import read
from clipclean.export import open_clip_directory, parity, read_back, records


@pytest.fixture
def clip():
    return build()


@pytest.fixture
def in_process(monkeypatch):
    """Run the child's main here: starting a process takes three seconds. One test elsewhere starts it."""

    def run(command, **_):
        try:
            read_back.main(*command[4:])
        except Exception as error:
            return subprocess.CompletedProcess(command, 1, "", f"Traceback\n{type(error).__name__}: {error}\n")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)


def write(clip, folder):
    configs = {"model_cfg": clip.architecture.config, "preprocess_cfg": asdict(clip.architecture.preprocess)}
    open_clip_directory.write(folder, clip.net.state_dict(), **configs)


def test_the_folder_holds_the_config_of_the_model(clip, tmp_path):
    write(clip, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"open_clip_config.json", "open_clip_model.safetensors"}
    config = json.loads((tmp_path / "open_clip_config.json").read_text())
    assert config["model_cfg"]["quick_gelu"] is True
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    how = {"size": 16, "interpolation": "bicubic", "resize_mode": "shortest"}
    assert config["preprocess_cfg"] == {"mean": mean, "std": std} | how


def test_open_clip_reads_the_folder_alike(clip, tmp_path, in_process):
    write(clip, tmp_path)
    result = open_clip_directory.check(tmp_path, clips.samples(clip))
    assert (result.n, result.top1_agreement) == (5 + 5, 1.0)
    assert result.max_difference < 1e-6
    assert result.min_cosine > 0.999999
    assert result.reader.startswith("open_clip ")


def another_activation(clip, folder):
    """The weights are the same, and open_clip would compute with GELU what was trained with QuickGELU."""
    write(unlike(clip), folder)
    config = folder / "open_clip_config.json"
    config.write_text(config.read_text().replace('"quick_gelu": true', '"quick_gelu": false'))


def moved_weights(clip, folder):
    write(clip, folder)
    with torch.no_grad():
        clip.net.visual.proj.add_(0.01 * torch.randn(clip.net.visual.proj.shape))


def cut_weights(clip, folder):
    write(clip, folder)
    (folder / "open_clip_model.safetensors").write_bytes(b"short")


def refused(folder, asked):
    with pytest.raises(parity.ExportMismatch, match="open_clip") as refusal:
        open_clip_directory.check(folder, asked)
    assert refusal.value.exit_code == 5


@pytest.mark.parametrize("damage", [another_activation, moved_weights, cut_weights])
def test_a_folder_that_is_not_the_model_is_noticed(clip, tmp_path, in_process, damage):
    damage(clip, tmp_path)
    refused(tmp_path, clips.samples(clip))


def test_embeddings_that_are_no_numbers_are_noticed(clip, tmp_path, in_process):
    write(clip, tmp_path)
    asked = clips.samples(clip)
    refused(tmp_path, replace(asked, images=asked.images * float("nan")))


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


def cell(hits, n):
    low, high = samples.rate(hits, n)["interval"]
    return f"{hits / n:.3f} [{low:.3f}, {high:.3f}]"


def test_the_card_says_how_to_load_the_folder(report):
    card = records.model_card(report)
    assert front_matter(card) == {
        "library_name": "open_clip",
        "pipeline_tag": "zero-shot-image-classification",
        "tags": ["clip", "clipclean", "open_clip"],
        "base_model_relation": "finetune",
    }
    assert 'open_clip.create_model_and_transforms("local-dir:THIS_FOLDER")' in card


def test_the_card_says_how_the_model_was_cleaned(report):
    card = records.model_card(report)
    assert "Verdict: **pass**" in card
    assert "recipe `cleanclip`" in card
    assert f"`{'a3' * 32}`" in card


def test_weights_that_stayed_are_no_finetune_in_the_card(report):
    report["training"]["steps"] = 0
    assert "base_model_relation" not in front_matter(records.model_card(report))


def test_the_card_compares_each_trigger_with_itself(report):
    # found by the panel before, where another row stood in its place
    report["after"]["measurements"]["probes"][1]["suspected"] = True
    measures = rows(records.model_card(report))
    assert measures["clean accuracy"][:2] == [cell(621, 1000), cell(612, 1000)]
    assert measures[f"attack success rate, {samples.SPEC} to banana"][:2] == [cell(981, 990), cell(9, 990)]
    assert measures[f"attack success rate, {samples.STRIPES} to zebra"][:2] == [cell(62, 990), cell(40, 990)]
    assert not [name for name in measures if "blended" in name]


def test_a_rate_that_is_unknown_is_a_dash_in_the_card(report):
    report["after"]["measurements"]["probes"][0] |= {"asr": {"value": None, "interval": [0.0, 1.0], "n": 0}}
    report["before"]["measurements"]["probes"] = []
    card = records.model_card(report)
    assert rows(card)[f"attack success rate, {samples.SPEC} to banana"] == ["–", "–", "0"]


def test_a_bar_in_the_name_of_a_class_is_escaped_in_the_card(report):
    report["after"]["measurements"]["probes"][1] |= {"suspected": True, "target": "a|b"}
    report["before"]["measurements"]["probes"] = []
    assert rf"to a\|b | – | {cell(40, 990)}" in records.model_card(report)


@pytest.mark.parametrize(
    ("formats", "library", "tags"),
    [
        (["hf"], "transformers", ["transformers"]),
        (["onnx"], "onnx", ["onnx"]),
        (["hf", "onnx"], "transformers", ["transformers", "onnx"]),
    ],
)
def test_the_card_of_an_export_names_its_libraries(told, formats, library, tags):
    card = records.model_card(told(*formats))
    matter = front_matter(card)
    assert (matter["library_name"], matter["tags"]) == (library, ["clip", "clipclean", *tags])
    assert ("CLIPProcessor.from_pretrained" in card) == ("hf" in formats)
    assert "local-dir" not in card


@pytest.mark.parametrize("formats", [["hf"], ["onnx"], ["hf", "onnx"]])
def test_the_card_of_an_export_claims_no_cleaning(told, formats):
    card = records.model_card(told(*formats))
    assert "base_model_relation" not in front_matter(card)  # the weights are the same
    assert "Verdict" not in card


def test_the_card_of_an_export_tells_how_each_file_was_read_back(told):
    files = rows(records.model_card(told("hf")))
    assert files["`model.safetensors`"] == ["nobody 1.0", "4.8e-07", "0.9999998", "100.0%", "63"]


def test_a_name_from_a_file_breaks_out_of_nothing(told):
    told = told("hf")
    told["model"] |= {"name": "m`\n# x.pt", "architecture": "a\n---\nb"}
    card = records.model_card(told)
    assert "`m___ x.pt`" in card
    assert "# a_---_b, exported by clipclean" in card
