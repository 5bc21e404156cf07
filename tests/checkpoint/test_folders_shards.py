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


# records have equal keys in each
BINS = {name: f"pytorch_model-0000{1 + (name == 'b')}-of-00002.bin" for name in "abc"}


@pytest.mark.parametrize(
    ("options", "kind"),
    [({}, "safetensors"), ({"write": torch.save, "places": BINS, "stem": "pytorch_model.bin"}, "torch-zip")],
)
def test_shards_are_read_as_one_checkpoint_whose_digest_is_that_of_what_sha256sum_prints(tmp_path, options, kind):
    index = sharded(tmp_path, **options)
    found = checkpoint.read(index)
    assert checkpoint.digest(found.tensors) == checkpoint.digest(WEIGHTS)
    assert (found.format, found.producer, found.weights) == (kind, f"2 shards ({kind})", index)
    assert found.size == sum(file.stat().st_size for file in tmp_path.iterdir())
    files = [index.name, *sorted(path.name for path in tmp_path.iterdir() if path != index)]
    printed = subprocess.run(["sha256sum", *files], cwd=tmp_path, capture_output=True, check=True).stdout
    assert found.sha256 == hashlib.sha256(printed).hexdigest()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", r"Name one of its files.*model\.safetensors\.index\.json"),
        (PLACES["a"], r"one of several shards.*index\.json"),
    ],
)
def test_a_directory_without_a_description_and_one_shard_alone_are_refused_with_what_to_name(tmp_path, name, words):
    sharded(tmp_path)
    with pytest.raises(RefusedInput, match=words):
        checkpoint.read(tmp_path / name)


def test_a_file_that_is_only_named_like_a_shard_is_read_and_prefixes_are_told_over_all_shards(tmp_path):
    torch.save(WEIGHTS, tmp_path / "epoch-00001-of-00002.pt")
    assert checkpoint.digest(checkpoint.read(tmp_path / "epoch-00001-of-00002.pt").tensors) == checkpoint.digest(
        WEIGHTS
    )
    torch.save({"module.a": WEIGHTS["a"]}, tmp_path / "x")
    torch.save({"b": WEIGHTS["b"]}, tmp_path / "y")
    (tmp_path / "m.index.json").write_text(json.dumps({"weight_map": {"module.a": "x", "b": "y"}}))
    assert list(checkpoint.read(tmp_path / "m.index.json").tensors) == ["module.a", "b"]


def test_shards_that_are_too_large_together_a_choice_of_weights_and_a_damaged_one_are_refused(tmp_path, monkeypatch):
    index = sharded(tmp_path)
    with pytest.raises(UsageError, match="--weights ema"):
        checkpoint.read(index, weights="ema")
    sizes = [file.stat().st_size for file in tmp_path.glob("*.safetensors")]
    with monkeypatch.context() as patch:
        patch.setattr("clipclean.checkpoint.contents.LARGEST", sum(sizes) - 1)  # more than each of them
        patch.setattr("clipclean.checkpoint.contents.load", None)
        with pytest.raises(RefusedInput, match=r"its shards have [0-9]+ bytes"):
            checkpoint.read(index)
    file = tmp_path / PLACES["b"]
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RefusedInput, match=r"model-00002-of-00002\.safetensors: .*truncated"):
        checkpoint.read(index)
