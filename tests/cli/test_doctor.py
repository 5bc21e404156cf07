import contextlib
import io
import json
import lzma
import re
from pathlib import Path

import pytest
import torch

from clipclean import cli, demo
from clipclean.cli import doctor
from clipclean.data import dictionary
from clipclean.errors import RefusedInput

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What it says, from a folder in which pip is what somebody has put there; as text, with the bundled files unread."""
    folder = tmp_path_factory.mktemp("cloned")
    (folder / "pip.py").write_text("open('ran', 'w')")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(doctor, "wordnet", lambda: "intact")
        patch.setattr(doctor, "demo", lambda: "intact")
        with contextlib.redirect_stdout(io.StringIO()) as text:
            assert cli.main(["doctor"]) == 0
        with contextlib.redirect_stdout(io.StringIO()) as as_json:
            assert cli.main(["doctor", "--json"]) == 0
    assert [path.name for path in folder.iterdir()] == ["pip.py"]
    return text.getvalue(), json.loads(as_json.getvalue())


def test_the_facts_are_those_of_this_machine_and_nothing_of_the_folder_runs(told):
    _, facts = told
    assert facts["environment"]["torch_version"] == torch.__version__
    assert all(size > 0 for size in facts["disk"].values())
    assert facts["bundled"] == {"wordnet": "intact", "demo": "intact"}


def test_every_package_is_listed_with_its_use_and_torch_tells_the_rest(told):
    text, _ = told
    declared = set(re.findall(r'^  "([A-Za-z_-]+)', (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    for part in ("onnx", "onnxruntime", "onnxscript", "transformers", "safetensors", "webdataset"):
        assert part in declared
        assert re.search(rf"^{part} +(not installed|[0-9].*) \(.+\)$", text, re.MULTILINE)
    assert f"PyTorch version: {torch.__version__}" in text


@pytest.mark.slow
def test_the_bundled_files_are_intact():
    assert (doctor.wordnet(), doctor.demo()) == ("intact", "intact")


def test_damaged_files_are_told_and_end_nothing(monkeypatch):
    def broken(*_):
        raise RefusedInput("the archive is broken.")

    def cut(*_):
        raise lzma.LZMAError("Corrupt input data.")

    monkeypatch.setattr(dictionary, "read", broken)
    monkeypatch.setattr(demo, "unpack", cut)
    assert doctor.wordnet() == "the archive is broken."
    assert doctor.demo().startswith("Corrupt input data.")
