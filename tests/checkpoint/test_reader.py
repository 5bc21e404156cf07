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


@pytest.mark.parametrize(
    ("options", "prefix"),
    [
        *(({"pickle_protocol": protocol}, "") for protocol in (2, 3, 4, 5)),
        *(({"pickle_protocol": p, "_use_new_zipfile_serialization": False}, "") for p in (2, 3, 4, 5)),
        *(({}, prefix) for prefix in PREFIXES),
    ],
)
def test_every_pickle_protocol_container_and_shared_prefix_is_read(tmp_path, options, prefix):
    saved = {prefix + name: tensor for name, tensor in weights().items()}
    torch.save({"state_dict": saved, "epoch": 3}, tmp_path / "model.pt", **options)
    found = checkpoint.read(tmp_path / "model.pt")
    assert_same(found.tensors, weights())
    assert found.format == ("torch-legacy" if "_use_new_zipfile_serialization" in options else "torch-zip")


def test_archives_without_checksums_and_misaligned_safetensors_are_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(weights(), tmp_path / "model.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert_same(checkpoint.read(tmp_path / "model.pt").tensors, weights())
    header = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    header += b" " * ((3 - len(header)) % 8)
    data = torch.tensor([1.5, -2.0]).numpy().tobytes()
    (tmp_path / "model").write_bytes(len(header).to_bytes(8, "little") + header + data)
    found = checkpoint.read(tmp_path / "model").tensors["w"]
    assert found.tolist() == [1.5, -2.0]
    assert found.data_ptr() % 4 == 0


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "uint16", "uint32", "uint64"])
def test_numbers_of_a_format_that_is_not_read_are_unsupported_and_not_unsafe(tmp_path, dtype):
    torch.save({"w": torch.ones(2, 2).to(getattr(torch, dtype))}, tmp_path / "model.pt")
    with pytest.raises(UnsupportedModel, match="'w'"):
        checkpoint.read(tmp_path / "model.pt")


def test_training_checkpoints_give_their_weights_alone_though_cleanclips_hold_numpy_and_argparse_objects(tmp_path):
    named, expected, optimizer = trained("module.")
    saved = {"epoch": 5, "name": "run", "state_dict": named, "optimizer": optimizer}
    torch.save(saved | {"scaler": {"scale": 65536.0}}, tmp_path / "epoch_5.pt")
    found = checkpoint.read(tmp_path / "epoch_5.pt")
    assert_same(found.tensors, expected)
    assert found.producer == "open_clip training checkpoint"
    skipped = ("epoch", "name", "optimizer", "scaler")
    assert all(f"'{name}'" in note for name, note in zip([*skipped, "module."], found.notes, strict=True))
    saved |= {
        "epoch": np.int64(5),
        "best": np.float64(0.5),
        "losses": np.arange(4.0),
        "args": argparse.Namespace(lr=1e-5, logs=Path("logs"), steps=Counter([3, 4]), device=torch.device("cpu")),
    }
    torch.save(saved, tmp_path / "epoch_5.pt")
    with pytest.raises(Exception, match="Weights only"):
        loaded(tmp_path / "epoch_5.pt")
    found = checkpoint.read(tmp_path / "epoch_5.pt")
    assert_same(found.tensors, expected)
    assert found.producer == "open_clip or CleanCLIP training checkpoint"
    (inert,) = [note for note in found.notes if note.startswith("contains")]
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


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin", "open_clip_model.pt"])
def test_an_open_clip_directory_gives_weights_and_configuration_and_so_does_a_file_beside_one(tmp_path, name):
    config = {"model_cfg": {"embed_dim": 4}, "preprocess_cfg": {"mean": [0.5]}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    if name.endswith(".safetensors"):
        safetensors.torch.save_file(dict(weights()), tmp_path / name)
    else:
        torch.save(weights(), tmp_path / name)
    found = checkpoint.read(tmp_path)
    assert found.format == "open_clip-directory"
    assert found.weights == tmp_path / name
    assert found.config == config
    assert found.tensors.keys() == weights().keys()
    assert name in found.producer
    torch.save(weights(), tmp_path / "model.pt")
    beside = checkpoint.read(tmp_path / "model.pt")
    assert (beside.config, beside.format) == (config, "torch-zip")
    assert ["open_clip_config.json" in note for note in beside.notes] == [True]


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
@pytest.mark.parametrize(
    "content",
    [{"w": torch.zeros(1)}, {"v": torch.ones(1)}, b"cos\nsystem\n(S'id'\ntR.", b"", b"\x80\x02cos\nsystem\n.", None],
)
def test_equal_weights_beside_those_of_a_directory_are_noted_and_others_refused(tmp_path, name, content):
    in_directory(tmp_path, name, {"w": torch.ones(1)} if content is None else content)
    if content is None:
        found = checkpoint.read(tmp_path)
        assert found.weights.name == "open_clip_model.safetensors"
        assert any(name in note for note in found.notes)
        return
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


def test_the_digest_is_what_its_docstring_says_and_ignores_strides_and_order():
    # 1.0 is 0x3f800000 and 2.0 is 0x40000000, least significant byte first
    stream = b'["a","float32",[1,2]]\n' + bytes.fromhex("0000803f00000040") + b'["b","bool",[]]\n\x01'
    found = checkpoint.digest({"b": torch.tensor(True), "a": torch.tensor([[1.0, 2.0]])})
    assert found == hashlib.sha256(stream).hexdigest()
    square = torch.arange(4.0).reshape(2, 2)
    one = checkpoint.digest({"a": square.T, "b": square})
    assert one == checkpoint.digest({"b": square, "a": square.T.contiguous()})
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
def test_a_directory_without_a_description_and_one_shard_alone_are_refused_with_what_to_name(tmp_path, name, words):
    foreign.sharded(tmp_path, WEIGHTS)
    with pytest.raises(RefusedInput, match=words):
        checkpoint.read(tmp_path / name)


def test_a_file_that_is_only_named_like_a_shard_is_read_and_prefixes_are_told_over_all_shards(tmp_path):
    torch.save(WEIGHTS, tmp_path / "epoch-00001-of-00002.pt")
    found = checkpoint.read(tmp_path / "epoch-00001-of-00002.pt").tensors
    assert checkpoint.digest(found) == checkpoint.digest(WEIGHTS)
    torch.save({"module.a": WEIGHTS["a"]}, tmp_path / "x")
    torch.save({"b": WEIGHTS["b"]}, tmp_path / "y")
    (tmp_path / "m.index.json").write_text(json.dumps({"weight_map": {"module.a": "x", "b": "y"}}))
    assert list(checkpoint.read(tmp_path / "m.index.json").tensors) == ["module.a", "b"]


def test_shards_that_are_too_large_together_a_choice_of_weights_and_a_damaged_one_are_refused(tmp_path, monkeypatch):
    index = foreign.sharded(tmp_path, WEIGHTS)
    with pytest.raises(UsageError, match="--weights ema"):
        checkpoint.read(index, weights="ema")
    sizes = [file.stat().st_size for file in tmp_path.glob("*.safetensors")]
    with monkeypatch.context() as patch:
        patch.setattr("clipclean.checkpoint.contents.LARGEST_BYTES", sum(sizes) - 1)  # more than each of them
        patch.setattr("clipclean.checkpoint.contents.load", None)
        with pytest.raises(RefusedInput, match=f"{sum(sizes):,} bytes"):
            checkpoint.read(index)
    file = tmp_path / SECOND
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RefusedInput, match=r"model-00002-of-00002\.safetensors: "):
        checkpoint.read(index)
