"""Other libraries as judges: they notice what we read otherwise, and the process that asks them has no rights."""

import dataclasses
import os

import processes
import pytest
import torch
from attacks import other_reader, readers
from attacks.oracle import CHILD, Oracle
from hostile import checkpoints
from hostile.seeds import NUMBERS, torch_bytes

from clipclean import checkpoint


def loadable(body, records=None):
    """An archive that torch loads as well: unlike ``checkpoints.archive`` it states its version."""
    members = {f"m/data/{key}": content for key, content in (records or {"0": checkpoints.NUMBERS}).items()}
    return checkpoints.zipped({"m/data.pkl": checkpoints.pickled(body), "m/version": b"3\n"} | members)


@pytest.fixture(scope="module")
def oracle():
    made = Oracle()
    yield made
    made.close()


def read(tmp_path, content):
    (tmp_path / "model").write_bytes(content)
    return checkpoint.read(tmp_path / "model")


@pytest.mark.parametrize("is_legacy", [False, True])
def test_an_honest_file_is_read_alike(tmp_path, oracle, is_legacy):
    content, before = torch_bytes(_use_new_zipfile_serialization=not is_legacy), oracle.alike
    oracle.compare(read(tmp_path, content), content)
    assert oracle.alike == before + 1


@pytest.mark.parametrize(
    "change",
    [lambda x: x + 1, lambda x: x.double(), lambda x: x.reshape(-1), lambda x: -x],
    ids=["value", "dtype", "shape", "sign"],
)
def test_a_tensor_that_we_read_otherwise_is_a_difference(tmp_path, oracle, change):
    content = torch_bytes({"a": NUMBERS.reshape(2, 3), "b": NUMBERS})
    file = read(tmp_path, content)
    other = dataclasses.replace(file, tensors=file.tensors | {"a": change(file.tensors["a"])})
    with pytest.raises(AssertionError, match=r"otherwise: \['a'\]"):
        oracle.compare(other, content)


def test_a_name_that_we_leave_out_is_a_difference(tmp_path, oracle):
    content = torch_bytes()
    file = read(tmp_path, content)
    with pytest.raises(AssertionError, match="names"):
        oracle.compare(dataclasses.replace(file, tensors={"b": file.tensors["b"]}), content)


def test_torch_lets_a_state_in_the_optimizer_write_into_the_weights():
    """What the refusal of states is for: not in this process, but in the one without rights, it would be the same."""
    writes = checkpoints.parameter(state=checkpoints.mapping({"real": checkpoints.OTHER}))
    body = checkpoints.mapping({"state_dict": checkpoints.BODY, "optimizer": checkpoints.mapping({"a": writes})})
    loaded = other_reader.of_torch(loadable(body, checkpoints.TWO), ["state_dict"])
    replaced = torch.frombuffer(bytearray(checkpoints.NUMBERS[::-1]), dtype=torch.float32)
    assert loaded["weight"] == other_reader.described(replaced)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_other_reader_cannot_read_a_file_of_the_user(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("mine")
    secret.chmod(0o600)
    asked = f"import sys; sys.path.insert(0, {str(CHILD.parent)!r}); import other_reader; other_reader.without_rights()"
    done = processes.python("-c", f"{asked}; open({str(secret)!r})", cwd=tmp_path)
    assert "PermissionError" in done.stderr


@pytest.mark.parametrize("reader", ["rebuild arguments", "storages", "safetensors headers", "TorchScript arguments"])
def test_enough_built_files_come_out_either_way(tmp_path, reader):
    """An oracle that is never asked would find nothing."""
    before = readers.oracle().alike
    answers = [
        readers.tried(reader, readers.made(reader, 3, number), tmp_path).partition(":")[0] for number in range(120)
    ]
    assert min(answers.count("read"), answers.count("refused")) > 10
    assert readers.oracle().alike - before > 10


@pytest.mark.slow
def test_a_folder_of_transformers_is_read_alike(tmp_path):
    before = readers.oracle().alike
    for number in range(20):
        readers.tried("transformers folder", readers.made("transformers folder", 3, number), tmp_path)
    assert readers.oracle().alike > before
