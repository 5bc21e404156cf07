from importlib import metadata

import torch

from clipclean.export import environment


def test_versions_and_hardware_are_those_of_this_process():
    assert environment.versions()["torch"] == metadata.version("torch")
    assert environment.hardware("cpu")["threads"] == torch.get_num_threads()
    assert environment.hardware("cpu")["device"] == "cpu"
