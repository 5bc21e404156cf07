import hashlib
import json
import subprocess

import pytest
import safetensors.torch
import torch

from clipclean import checkpoint
from clipclean.errors import RefusedInput, UsageError

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2).half(), "c": torch.tensor(7)}
PLACES = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
PLACES["c"] = PLACES["b"]


def sharded(folder, *, write=safetensors.torch.save_file, places=PLACES, stem="model.safetensors"):
    """Shards and their index."""
    for file in set(places.values()):
        write({name: WEIGHTS[name] for name, place in places.items() if place == file}, folder / file)
    (folder / f"{stem}.index.json").write_text(json.dumps({"metadata": {"total_size": 36}, "weight_map": places}))
    return folder / f"{stem}.index.json"


def test_shards_are_read_as_one_checkpoint(tmp_path):
    found = checkpoint.read(sharded(tmp_path))
    assert checkpoint.digest(found.tensors) == checkpoint.digest(WEIGHTS)
    assert (found.format, found.producer) == ("safetensors", "2 shards (safetensors)")
    assert found.weights == tmp_path / "model.safetensors.index.json"
    assert found.size == sum(file.stat().st_size for file in tmp_path.iterdir())


def test_shards_of_torch_save_are_read_too(tmp_path):
    """Their records have the same keys in each file."""
    places = {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}
    places["c"] = places["a"]
    found = checkpoint.read(sharded(tmp_path, write=torch.save, places=places, stem="pytorch_model.bin"))
    assert checkpoint.digest(found.tensors) == checkpoint.digest(WEIGHTS)
    assert found.format == "torch-zip"


def test_the_digest_of_shards_is_that_of_what_sha256sum_prints(tmp_path):
    index = sharded(tmp_path)
    files = [index.name, *sorted(set(PLACES.values()))]
    printed = subprocess.run(["sha256sum", *files], cwd=tmp_path, capture_output=True, check=True).stdout
    assert checkpoint.read(index).sha256 == hashlib.sha256(printed).hexdigest()


def test_a_directory_with_an_index_but_no_description_gets_a_hint(tmp_path):
    sharded(tmp_path)
    with pytest.raises(RefusedInput, match=r"Name one of its files.*model\.safetensors\.index\.json"):
        checkpoint.read(tmp_path)


def test_one_shard_alone_is_refused_with_the_name_of_the_index(tmp_path):
    sharded(tmp_path)
    with pytest.raises(RefusedInput, match=r"one of several shards.*model\.safetensors\.index\.json"):
        checkpoint.read(tmp_path / PLACES["a"])


def test_a_file_that_is_only_named_like_a_shard_is_read(tmp_path):
    torch.save(WEIGHTS, tmp_path / "epoch-00001-of-00002.pt")
    assert checkpoint.digest(checkpoint.read(tmp_path / "epoch-00001-of-00002.pt").tensors) == checkpoint.digest(
        WEIGHTS
    )


def test_prefixes_are_told_over_all_shards(tmp_path):
    torch.save({"module.a": WEIGHTS["a"]}, tmp_path / "x")
    torch.save({"b": WEIGHTS["b"]}, tmp_path / "y")
    (tmp_path / "m.index.json").write_text(json.dumps({"weight_map": {"module.a": "x", "b": "y"}}))
    assert list(checkpoint.read(tmp_path / "m.index.json").tensors) == ["module.a", "b"]


def test_a_damaged_shard_is_named(tmp_path):
    index = sharded(tmp_path)
    file = tmp_path / PLACES["b"]
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RefusedInput, match=r"model-00002-of-00002\.safetensors: .*truncated"):
        checkpoint.read(index)


def test_shards_that_are_too_large_together_are_refused_before_they_are_read(tmp_path, monkeypatch):
    index = sharded(tmp_path)
    sizes = [file.stat().st_size for file in tmp_path.glob("*.safetensors")]
    monkeypatch.setattr("clipclean.checkpoint.contents.LARGEST", sum(sizes) - 1)  # more than each of them
    monkeypatch.setattr("clipclean.checkpoint.contents.load", None)
    with pytest.raises(RefusedInput, match=r"its shards have [0-9]+ bytes"):
        checkpoint.read(index)


def test_shards_have_no_wrappers_to_choose_from(tmp_path):
    with pytest.raises(UsageError, match="--weights ema"):
        checkpoint.read(sharded(tmp_path), weights="ema")
