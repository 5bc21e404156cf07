"""Records of runs: a cleaning, and what export tells of some formats."""

import pytest
from report import samples

PATHS = {"open_clip": "open_clip_model.safetensors", "hf": "model.safetensors", "onnx": "onnx/vision_model.onnx"}


@pytest.fixture
def report():
    """A cleaning that passed, by a sample of the reports."""
    made = samples.passed()
    made["environment"]["open_clip_torch"] = "3.3.0"
    return made


@pytest.fixture
def told():
    """Makes a record of an export, without recipe, seed, verdict and audits."""

    def converted(*formats):
        keys = ("tool", "environment", "data", "model")
        read_back = {"reader": "nobody 1.0", "top1_agreement": 1.0}
        exports = [samples.EXPORT | {"format": form, "path": PATHS[form]} for form in formats]
        exports = [each | {"parity": samples.PARITY | read_back} for each in exports]
        return {key: samples.passed()[key] for key in keys} | {"command": "export", "exports": exports}

    return converted
