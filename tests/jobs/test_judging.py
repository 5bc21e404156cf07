"""What a file holds beside the weights that were judged."""

import pytest
import torch
from hostile.seeds import script_bytes

from clipclean import checkpoint
from clipclean.config import policy
from clipclean.jobs import judging, model_paths, opening

PART = {"w": torch.ones(1)}


def findings(path, *, is_chosen=False):
    loaded = opening.LoadedModel(model_paths.locate(path), checkpoint.read(path), clip=None)  # no model is built of it
    return judging.file_findings(loaded, is_chosen=is_chosen)


def of_file(path, *, is_chosen=False):
    return [(each.rule, each.level) for each in findings(path, is_chosen=is_chosen)]


def test_code_beside_the_weights_is_no_more_than_a_note(tmp_path):
    (tmp_path / "m").write_bytes(script_bytes())
    assert of_file(tmp_path / "m") == [("CC025", "note")]
    assert policy.verdict(findings(tmp_path / "m")) == "pass"


@pytest.mark.parametrize(("is_chosen", "level"), [(False, "warning"), (True, "note")])
def test_further_weights_keep_a_file_from_passing_unless_the_user_chose_among_them(tmp_path, is_chosen, level):
    torch.save({"state_dict": PART, "net": {**PART}}, tmp_path / "m")
    assert of_file(tmp_path / "m", is_chosen=is_chosen) == [("CC026", level)]


def test_a_file_of_weights_alone_has_nothing_to_tell(tmp_path):
    torch.save({"state_dict": PART, "epoch": 3}, tmp_path / "m")
    assert of_file(tmp_path / "m") == []
