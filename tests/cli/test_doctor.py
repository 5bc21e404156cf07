import json
import lzma
import os
import re
from pathlib import Path

import pytest
import torch

from clipclean import cli, demo
from clipclean.cli import doctor
from clipclean.data import dictionary
from clipclean.errors import RefusedInput

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def facts(monkeypatch, capsys):
    """What it says with the bundled files left unread: reading them takes three seconds."""
    monkeypatch.setattr(doctor, "wordnet", lambda: "intact")
    monkeypatch.setattr(doctor, "demo", lambda: "intact")

    def ask(*arguments):
        assert cli.main(["doctor", *arguments]) == 0
        return capsys.readouterr().out

    return ask


def test_the_facts_are_those_of_this_machine(facts):
    found = json.loads(facts("--json"))
    assert found["versions"]["torch"] == torch.__version__
    assert set(found["versions"]) == {"python", "torch", "torchvision", "open_clip_torch", "nltk", "numpy", "pillow"}
    assert found["cpu"]["cores"] == os.cpu_count()
    assert found["cpu"]["threads"] == torch.get_num_threads()
    assert len(found["gpus"]) == torch.cuda.device_count()
    assert all(size > 0 for size in found["disk"].values())


def test_the_text_has_one_line_for_each_fact(facts):
    lines = dict(line.split(maxsplit=1) for line in facts().splitlines() if not line.startswith(("bf16", "demo files")))
    assert lines["torch"] == torch.__version__
    assert lines["WordNet"] == "intact"
    assert lines["GPU"] or torch.cuda.is_available()


def test_a_package_that_is_not_there_and_a_gpu_are_told(facts, monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("no-such-package",))
    monkeypatch.setattr(doctor, "gpus", lambda: [{"name": "A Card", "memory": 80 * 2**30, "bf16": True}])
    told = facts()
    assert "no-such-package  not installed" in told
    assert "A Card, 80.0 GiB, with bf16" in told


def test_a_system_without_proc_leaves_out_what_it_does_not_tell(facts, monkeypatch):
    monkeypatch.setattr(doctor, "_lines", lambda path: {})
    found = json.loads(facts("--json"))
    assert (found["memory"]["total"], found["cpu"]["flags"]) == (None, [])
    assert "bf16 on CPU      emulated: slow" in facts()


def test_every_optional_part_is_listed_with_its_use(facts):
    declared = set(re.findall(r'^  "([A-Za-z_-]+)', (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    told = facts()
    for part in ("onnx", "onnxruntime", "onnxscript", "transformers", "safetensors", "webdataset"):
        assert part in declared
        assert re.search(rf"^{part} +(not installed|[0-9].*) \(.+\)$", told, re.MULTILINE)


def test_a_build_for_processors_is_told_as_the_reason_why_no_gpu_is_seen(facts, monkeypatch):
    monkeypatch.setattr(doctor, "gpus", list)
    monkeypatch.setattr(doctor, "torch_build", lambda: "cpu")
    assert "this PyTorch is built for processors only" in facts()
    monkeypatch.setattr(doctor, "torch_build", lambda: "CUDA 12.8")
    assert "none that PyTorch (CUDA 12.8) sees" in facts()


@pytest.mark.slow
def test_the_bundled_files_are_intact():
    assert (doctor.wordnet(), doctor.demo()) == ("intact", "intact")


def test_damaged_files_are_told_and_end_nothing(monkeypatch, capsys):
    def broken(*_):
        raise RefusedInput("the archive is broken.")

    def cut(*_):
        raise lzma.LZMAError("Corrupt input data.")

    monkeypatch.setattr(dictionary, "read", broken)
    monkeypatch.setattr(demo, "unpack", cut)
    assert cli.main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "WordNet          the archive is broken." in told
    assert "demo files       Corrupt input data. Install clip-sanitizer again." in told
