import argparse
import hashlib
import json
import math
import subprocess
from collections import Counter, OrderedDict
from pathlib import Path

import foreign
import numpy as np
import pytest
import safetensors.torch
import torch

from clipclean import checkpoint
from clipclean.errors import RefusedInput, UnsupportedModel, UsageError


def weights(seed=0):
    rng = torch.Generator().manual_seed(seed)
    return OrderedDict(
        {
            "visual.conv1.weight": torch.randn(4, 3, 2, 2, generator=rng),
            "logit_scale": torch.randn((), generator=rng),
            "text_projection": torch.randn(5, 6, generator=rng).half(),
            "ln_final.weight": torch.randn(6, generator=rng).bfloat16(),
            "visual.bn1.num_batches_tracked": torch.tensor(7),
            "double": torch.randn(3, generator=rng, dtype=torch.float64),
            "ints": torch.arange(3, dtype=torch.int32),
            "bytes": torch.arange(3, dtype=torch.uint8),
            "bools": torch.tensor([True, False, True]),
        }
    )


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor.detach()), name
        assert found[name].is_contiguous()


def loaded(path, **options):
    return torch.load(path, weights_only=True, **options)  # noqa: TID251 # the other implementation, on our own file


def trained(prefix=""):
    """A model after one step of AdamW, as training scripts save it."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(5, 3)).square().mean().backward()
    optimizer.step()
    named = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    return named, model.state_dict(), optimizer.state_dict()


BASE = torch.arange(12.0).reshape(3, 4)
SAVED = {
    "weights of every dtype": weights(),
    "a parameter": {"weight": torch.nn.Parameter(torch.arange(3.0))},
    "views of one storage": {"base": BASE, "transposed": BASE.T, "column": BASE[:, 1], "tied": BASE},
    "nothing and single numbers": {"none": torch.empty(0, 5), "one": torch.ones(1, 1, 1), "scalar": torch.tensor(2.0)},
    "channels last": {"conv": torch.arange(24.0).reshape(2, 3, 2, 2).to(memory_format=torch.channels_last)},
    "the largest finite values": {
        str(dtype): torch.tensor([torch.finfo(dtype).max] * 3, dtype=dtype) for dtype in (torch.half, torch.bfloat16)
    },
}


@pytest.mark.parametrize("saved", SAVED.values(), ids=SAVED)
def test_a_bare_state_dict_is_read_as_torch_reads_it_into_memory_of_its_own(tmp_path, saved):
    path = tmp_path / "model.pt"
    torch.save(saved, path)
    before, found = path.read_bytes(), checkpoint.read(path)
    assert_same(found.tensors, loaded(path))
    assert (found.format, found.producer, found.notes) == ("torch-zip", "bare state dict", ())
    assert (found.config, found.quick_gelu) == (None, None)
    assert found.path == found.weights == path
    assert (found.size, found.sha256) == (len(before), hashlib.sha256(before).hexdigest())
    first, *rest = found.tensors.values()
    first.zero_()
    assert all(torch.equal(one, other.detach()) for one, other in zip(rest, [*saved.values()][1:], strict=True))
    assert path.read_bytes() == before


PREFIXES = ("_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "module.model.")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    ("container", "expected"), [({}, "torch-zip"), ({"_use_new_zipfile_serialization": False}, "torch-legacy")]
)
def test_every_pickle_protocol_is_read_in_every_container(tmp_path, protocol, container, expected):
    torch.save({"state_dict": weights(), "epoch": 3}, tmp_path / "model.pt", pickle_protocol=protocol, **container)
    file = checkpoint.read(tmp_path / "model.pt")
    assert_same(file.tensors, weights())
    assert file.format == expected


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_that_all_names_share_is_taken_off(tmp_path, prefix):
    saved = {prefix + name: tensor for name, tensor in weights().items()}
    torch.save({"state_dict": saved, "epoch": 3}, tmp_path / "model.pt")
    file = checkpoint.read(tmp_path / "model.pt")
    assert_same(file.tensors, weights())
    assert file.format == "torch-zip"


def test_an_archive_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(weights(), tmp_path / "model.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert_same(checkpoint.read(tmp_path / "model.pt").tensors, weights())


def test_misaligned_safetensors_are_read_into_aligned_memory(tmp_path):
    header = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    header += b" " * ((3 - len(header)) % 8)
    data = torch.tensor([1.5, -2.0]).numpy().tobytes()
    (tmp_path / "model").write_bytes(len(header).to_bytes(8, "little") + header + data)
    tensor = checkpoint.read(tmp_path / "model").tensors["w"]
    assert tensor.tolist() == [1.5, -2.0]
    assert tensor.data_ptr() % 4 == 0


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "uint16", "uint32", "uint64"])
def test_weights_of_a_dtype_that_is_not_read_are_unsupported(tmp_path, dtype):
    torch.save({"w": torch.ones(2, 2).to(getattr(torch, dtype))}, tmp_path / "model.pt")
    with pytest.raises(UnsupportedModel, match="'w'"):
        checkpoint.read(tmp_path / "model.pt")


def test_a_training_checkpoint_gives_its_weights_alone(tmp_path):
    named, expected, optimizer = trained("module.")
    saved = {"epoch": 5, "name": "run", "state_dict": named, "optimizer": optimizer, "scaler": {"scale": 65536.0}}
    torch.save(saved, tmp_path / "epoch_5.pt")
    file = checkpoint.read(tmp_path / "epoch_5.pt")
    assert_same(file.tensors, expected)
    assert file.producer == "open_clip training checkpoint"
    skipped = ("epoch", "name", "optimizer", "scaler")
    assert all(f"'{name}'" in note for name, note in zip([*skipped, "module."], file.notes, strict=True))


def test_the_python_objects_in_a_checkpoint_of_cleanclip_are_told_by_kind(tmp_path):
    named, expected, optimizer = trained("module.")
    saved = {
        "epoch": np.int64(5),
        "name": "run",
        "state_dict": named,
        "optimizer": optimizer,
        "best": np.float64(0.5),
        "losses": np.arange(4.0),
        "args": argparse.Namespace(lr=1e-5, logs=Path("logs"), steps=Counter([3, 4]), device=torch.device("cpu")),
    }
    torch.save(saved, tmp_path / "epoch_5.pt")
    with pytest.raises(Exception, match="Weights only"):
        loaded(tmp_path / "epoch_5.pt")
    file = checkpoint.read(tmp_path / "epoch_5.pt")
    assert_same(file.tensors, expected)
    assert file.producer == "open_clip or CleanCLIP training checkpoint"
    (inert,) = [note for note in file.notes if note.startswith("contains")]
    for kind in ("numpy scalar", "numpy array", "argparse namespace", "path", "counter", "torch device"):
        assert kind in inert


def test_safetensors_files_are_read_as_their_library_reads_them_whatever_their_suffix(tmp_path):
    safetensors.torch.save_file(dict(weights()), tmp_path / "model.pt", metadata={"format": "pt"})
    found = checkpoint.read(tmp_path / "model.pt")
    expected = safetensors.torch.load_file(tmp_path / "model.pt")
    assert_same(dict(sorted(found.tensors.items())), dict(sorted(expected.items())))
    assert (found.format, found.producer) == ("safetensors", "safetensors file")
    torch.save(weights(), tmp_path / "model.safetensors")
    assert checkpoint.read(tmp_path / "model.safetensors").format == "torch-zip"


CONFIG = {"model_cfg": {"embed_dim": 4}, "preprocess_cfg": {"mean": [0.5]}}
every_name = pytest.mark.parametrize(
    "name", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin", "open_clip_model.pt"]
)


def write_open_clip(folder, name):
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG))
    if name.endswith(".safetensors"):
        safetensors.torch.save_file(dict(weights()), folder / name)
    else:
        torch.save(weights(), folder / name)


@every_name
def test_an_open_clip_directory_is_read_by_its_configuration(tmp_path, name):
    write_open_clip(tmp_path, name)
    file = checkpoint.read(tmp_path)
    assert file.format == "open_clip-directory"
    assert file.weights == tmp_path / name
    assert file.config == CONFIG
    assert file.tensors.keys() == weights().keys()
    assert name in file.producer


@every_name
def test_a_file_is_read_by_the_configuration_beside_it(tmp_path, name):
    write_open_clip(tmp_path, name)
    torch.save(weights(), tmp_path / "model.pt")
    file = checkpoint.read(tmp_path / "model.pt")
    assert (file.config, file.format) == (CONFIG, "torch-zip")
    assert ["open_clip_config.json" in note for note in file.notes] == [True]


OTHERS = ("open_clip_pytorch_model.bin", "pytorch_model.bin", "model.safetensors")


def in_directory(folder, name, content):
    (folder / "open_clip_config.json").write_text("{}")
    safetensors.torch.save_file({"w": torch.ones(1)}, folder / "open_clip_model.safetensors")
    if isinstance(content, bytes):
        (folder / name).write_bytes(content)
    elif name.endswith(".safetensors"):
        safetensors.torch.save_file(content, folder / name)
    else:
        torch.save(content, folder / name)


@pytest.mark.parametrize("name", OTHERS)
def test_equal_weights_beside_those_of_a_directory_are_noted(tmp_path, name):
    in_directory(tmp_path, name, {"w": torch.ones(1)})
    file = checkpoint.read(tmp_path)
    assert file.weights.name == "open_clip_model.safetensors"
    assert any(name in note for note in file.notes)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(
    "content",
    [{"w": torch.zeros(1)}, {"v": torch.ones(1)}, b"cos\nsystem\n(S'id'\ntR.", b"", b"\x80\x02cos\nsystem\n."],
)
def test_other_weights_beside_those_of_a_directory_are_refused(tmp_path, name, content):
    in_directory(tmp_path, name, content)
    with pytest.raises(RefusedInput):
        checkpoint.read(tmp_path)
    assert checkpoint.read(tmp_path / "open_clip_model.safetensors").tensors["w"].item() == 1  # named, it is the one


def test_the_memory_of_an_optimizer_is_not_kept_beside_the_weights(tmp_path):
    torch.save({"state_dict": {"w": torch.ones(2**16)}, "optimizer": {"m": torch.ones(2**18)}}, tmp_path / "model.pt")
    found = checkpoint.read(tmp_path / "model.pt").tensors["w"]
    assert found.sum() == 2**16
    assert found.untyped_storage().nbytes() == 4 * 2**16


def test_every_tensor_with_a_value_that_is_not_finite_is_named(tmp_path):
    torch.save({"a": torch.tensor([1, math.nan]), "b": torch.ones(1), "c": torch.tensor(math.inf)}, tmp_path / "m")
    with pytest.raises(RefusedInput, match="'a', 'c'"):
        checkpoint.read(tmp_path / "m")


def test_the_digest_is_what_its_docstring_says():
    # 1.0 is 0x3f800000 and 2.0 is 0x40000000, least significant byte first
    stream = b'["a","float32",[1,2]]\n' + bytes.fromhex("0000803f00000040") + b'["b","bool",[]]\n\x01'
    digest = checkpoint.digest({"b": torch.tensor(True), "a": torch.tensor([[1.0, 2.0]])})
    assert digest == hashlib.sha256(stream).hexdigest()


def test_equal_tensors_have_one_digest_however_they_lie():
    square = torch.arange(4.0).reshape(2, 2)
    digest = checkpoint.digest({"a": square.T, "b": square})
    assert digest == checkpoint.digest({"b": square, "a": square.T.contiguous()})


def test_every_difference_of_content_changes_the_digest():
    zeros = torch.zeros(4)
    others = ({"b": zeros}, {"a": zeros.reshape(2, 2)}, {"a": zeros.double()}, {"a": zeros + 1})
    assert checkpoint.digest({"a": zeros}) not in map(checkpoint.digest, others)


WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2).half(), "c": torch.tensor(7)}
SECOND = "model-00002-of-00002.safetensors"


@pytest.mark.parametrize(
    ("options", "kind"),
    [({}, "safetensors"), (foreign.BIN, "torch-zip")],  # whose records have equal keys in each
)
def test_shards_are_read_as_one_checkpoint_whose_digest_is_that_of_what_sha256sum_prints(tmp_path, options, kind):
    index = foreign.sharded(tmp_path, WEIGHTS, **options)
    found = checkpoint.read(index)
    assert checkpoint.digest(found.tensors) == checkpoint.digest(WEIGHTS)
    assert (found.format, found.producer, found.weights) == (kind, f"2 shards ({kind})", index)
    assert found.size == sum(file.stat().st_size for file in tmp_path.iterdir())
    files = [index.name, *sorted(path.name for path in tmp_path.iterdir() if path != index)]
    printed = subprocess.run(["sha256sum", *files], cwd=tmp_path, capture_output=True, check=True).stdout
    assert found.sha256 == hashlib.sha256(printed).hexdigest()


@pytest.mark.parametrize(("name", "words"), [("", r"model\.safetensors\.index\.json"), (SECOND, r"index\.json")])
def test_the_refusal_of_shards_names_their_index(tmp_path, name, words):
    foreign.sharded(tmp_path, WEIGHTS)
    with pytest.raises(RefusedInput, match=words):
        checkpoint.read(tmp_path / name)


def test_a_file_that_is_only_named_like_a_shard_is_read(tmp_path):
    torch.save(WEIGHTS, tmp_path / "epoch-00001-of-00002.pt")
    tensors = checkpoint.read(tmp_path / "epoch-00001-of-00002.pt").tensors
    assert checkpoint.digest(tensors) == checkpoint.digest(WEIGHTS)


def test_a_prefix_that_one_shard_lacks_stays(tmp_path):
    torch.save({"module.a": WEIGHTS["a"]}, tmp_path / "x")
    torch.save({"b": WEIGHTS["b"]}, tmp_path / "y")
    (tmp_path / "m.index.json").write_text(json.dumps({"weight_map": {"module.a": "x", "b": "y"}}))
    assert list(checkpoint.read(tmp_path / "m.index.json").tensors) == ["module.a", "b"]


def test_a_choice_among_the_weights_of_shards_is_refused(tmp_path):
    index = foreign.sharded(tmp_path, WEIGHTS)
    with pytest.raises(UsageError, match="--weights ema"):
        checkpoint.read(index, weights="ema")


def test_shards_that_are_too_large_together_are_refused_unread(tmp_path, monkeypatch):
    index = foreign.sharded(tmp_path, WEIGHTS)
    sizes = [file.stat().st_size for file in tmp_path.glob("*.safetensors")]
    monkeypatch.setattr("clipclean.checkpoint.contents.LARGEST_BYTES", sum(sizes) - 1)  # more than each of them
    monkeypatch.setattr("clipclean.checkpoint.contents.load", None)
    with pytest.raises(RefusedInput, match=f"{sum(sizes):,} bytes"):
        checkpoint.read(index)


def test_a_damaged_shard_is_refused_by_name(tmp_path):
    index = foreign.sharded(tmp_path, WEIGHTS)
    file = tmp_path / SECOND
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RefusedInput, match=r"model-00002-of-00002\.safetensors: "):
        checkpoint.read(index)
