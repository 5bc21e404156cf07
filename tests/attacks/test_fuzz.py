import json
import random

import processes
import pytest
from attacks import edits, readers
from attacks.readers import READERS
from hostile import checkpoints

from clipclean import checkpoint


@pytest.fixture(autouse=True)
def in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


SLOW = {"transformers folder"}  # that library takes ten seconds to begin
EACH = [pytest.param(reader, marks=[pytest.mark.slow] if reader in SLOW else []) for reader in READERS]


@pytest.mark.parametrize("reader", EACH)
def test_honest_files_are_read(reader, tmp_path):
    draw = random.Random(0)
    finish = READERS[reader].finish
    for content in READERS[reader].honest:
        whole = finish(content, draw) if finish is edits.archived else content
        assert readers.tried(reader, whole, tmp_path) == "read"


# a millisecond each
QUICK = (
    "zip",
    "torchscript",
    "pickle",
    "legacy",
    "safetensors",
    "images",
    "rebuild arguments",
    "storages",
    "safetensors headers",
)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remarks on damaged EXIF
@pytest.mark.parametrize("count", [5, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("reader", EACH)
def test_mutated_files_are_read_or_refused_in_our_own_words(reader, count, tmp_path):
    """``make fuzz`` for millions."""
    for number in range(30 * count if reader in QUICK else count):
        readers.tried(reader, readers.made(reader, 7, number), tmp_path)


ATOMS = [checkpoints.NONE, checkpoints.EMPTY_LIST, checkpoints.EMPTY_TUPLE, checkpoints.EMPTY_DICT, checkpoints.MARK]
ATOMS += [checkpoints.GOOD, checkpoints.text("state_dict"), checkpoints.whole(2), checkpoints.storage(4)]
ATOMS += [checkpoints.name(*each.rsplit(".", 1)) for each in ("torch.Size", "argparse.Namespace")]
ATOMS += [checkpoints.name("torch._utils", "_rebuild_tensor_v2"), b"q\x00", b"h\x00"]
ATOMS += [bytes([code]) for code in b"tR\x81bQaesu\x85\x86\x87\x93\x90\x8f\x91\x94"]


def test_any_sequence_of_opcodes_is_read_or_refused(tmp_path):
    draw = random.Random(0)
    for _ in range(600):
        pickled = checkpoints.pickled(b"".join(draw.choices(ATOMS, k=draw.randrange(31))))
        readers.tried("pickle", checkpoints.archive(pickled), tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json", "a.safetensors"])
def test_a_mutated_file_of_a_directory_is_read_or_refused(tmp_path, name):
    checkpoints.sharded({"a": "a.safetensors", "b": "b.safetensors"}, "").write(tmp_path / "model")
    assert checkpoint.read(tmp_path / "model").tensors.keys() == {"a", "b"}
    draw, honest = random.Random(0), (tmp_path / "model" / name).read_bytes()
    for _ in range(100):
        (tmp_path / "model" / name).write_bytes(edits.edited(draw, [honest], [honest], edits.TEXT + edits.JSON))
        readers.answer(readers.weights, tmp_path / "model")


DIGESTS = """
import hashlib, json
from attacks import readers
made = {name: b"".join(readers.made(name, 0, number) for number in range(20)) for name in readers.READERS}
print(json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in made.items()}))
"""


@pytest.mark.slow
def test_an_input_follows_from_its_number_in_any_process_at_any_time():
    found = [processes.python("-c", DIGESTS, env={"PYTHONHASHSEED": seed}, check=True) for seed in "12"]
    first, second = (json.loads(done.stdout) for done in found)
    assert first == second
    assert len({readers.made("zip", 0, number) for number in range(20)}) > 15
