"""``clipclean doctor``."""

import json
import lzma

import pytest
import torch

from clipclean import cli, demo
from clipclean.cli import doctor
from clipclean.data import dictionary
from clipclean.errors import RefusedInput


@pytest.mark.slow
def test_the_facts_are_those_of_this_machine_and_nothing_of_the_folder_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "pip.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("onnx", "onnxruntime", "transformers", "safetensors", torch.__version__))
    assert cli.main(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["environment"]["torch_version"] == torch.__version__
    assert all(size > 0 for size in facts["disk"].values())
    assert facts["bundled"] == {"wordnet": "intact", "demo": "intact"}
    assert [path.name for path in tmp_path.iterdir()] == ["pip.py"]


def test_damaged_files_are_told_and_end_nothing(monkeypatch):
    def broken(*_):
        raise RefusedInput("the archive is broken.")

    def cut(*_):
        raise lzma.LZMAError("Corrupt input data.")

    monkeypatch.setattr(dictionary, "read", broken)
    monkeypatch.setattr(demo, "unpack", cut)
    assert "intact" not in (doctor.wordnet(), doctor.demo())
