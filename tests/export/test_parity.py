import subprocess
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from clipclean.export import parity, read_back

EXACT = parity.Parity(0.0, 1.0, top1_agreement=1.0, n=4, reader="other 1.0")


def samples(images, texts):
    """Samples of which only the embeddings matter."""
    pixels, tokens = torch.zeros(len(images), 3, 2, 2), torch.zeros(len(texts), 4, dtype=torch.long)
    return parity.ParitySamples(pixels, tokens, torch.tensor(images), torch.tensor(texts), ["x"] * len(texts))


OURS = samples([[1.0, 0.0]], [[0.0, 1.0]])


def test_embeddings_are_compared_where_they_differ_most():
    # differs by 0.6 and 0.2; cosine 0.8
    theirs = {"images": np.array([[1.0, 0.0]]), "texts": np.array([[0.6, 0.8]]), "reader": "other 1.0"}
    result = parity.compare(OURS, theirs)
    assert (result.max_difference, result.min_cosine) == (pytest.approx(0.6), pytest.approx(0.8))
    assert (result.n, result.reader) == (2, "other 1.0")


def test_the_length_of_an_embedding_is_no_difference():
    theirs = {"images": np.array([[7.0, 0.0]]), "texts": np.array([[0.0, 0.5]]), "reader": "other 1.0"}
    assert parity.compare(OURS, theirs).max_difference == 0.0


def test_the_agreement_is_the_share_of_images_with_an_equal_answer():
    texts = np.eye(3, dtype=np.float32)
    ours = np.array([[0.8, 0.6, 0.0], [0.0, 1.0, 0.0], [0.0, 0.6, 0.8], [1.0, 0.0, 0.0]])
    theirs = ours.copy()
    theirs[0] = [0.6, 0.8, 0.0]  # now nearer to the second caption: 3 of 4 agree
    assert parity.agreement((ours, texts), (theirs, texts)) == 0.75
    assert parity.agreement((ours, texts), (ours, texts)) == 1.0


def test_captions_that_are_equally_good_are_one_answer():
    texts = np.array([[1.0, 0.0], [1.0, 0.0]])
    nudged = np.array([[1.0, 0.0], [1.0 + 1e-6, 0.0]])
    image = np.array([[1.0, 0.0]])
    assert parity.agreement((image, texts), (image, nudged)) == 1.0


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"max_difference": 2e-5}, "differ from ours by up to 2e-05"),
        ({"min_cosine": 0.9999}, "minimum cosine 0.999900"),
        ({"top1_agreement": 0.75}, "75.0% of the images"),
        ({"max_difference": float("nan")}, "nan"),
    ],
)
def test_each_limit_refuses_by_itself(changed, words):
    parity.hold(EXACT, parity.FP32_LIMITS)
    with pytest.raises(parity.ExportMismatch, match=words) as told:
        parity.hold(replace(EXACT, **changed), parity.FP32_LIMITS)
    assert "other 1.0" in str(told.value)
    assert told.value.exit_code == 5


def child(monkeypatch, end):
    """Let the child process end like this."""
    monkeypatch.setattr(subprocess, "run", lambda command, **_: end(command))


def test_a_library_that_crashes_or_hangs_is_a_failed_check(monkeypatch, tmp_path):
    child(monkeypatch, lambda command: subprocess.CompletedProcess(command, -11, "", ""))
    with pytest.raises(parity.ExportMismatch, match=r"onnxruntime .*signal 11"):
        parity.ask("onnxruntime", tmp_path, samples([[1.0]], [[1.0]]))

    def late(command):
        raise subprocess.TimeoutExpired(command, parity.TIMEOUT_SECONDS)

    child(monkeypatch, late)
    asked = samples([[1.0]], [[1.0]])
    with pytest.raises(parity.ExportMismatch, match="600 s"):
        parity.ask("open_clip", tmp_path, asked)
    with pytest.raises(parity.ExportMismatch, match="2600 s"):  # 600 + 20 x 100
        parity.ask("open_clip", tmp_path, replace(asked, seconds=100.0))


def test_the_child_gets_the_names_as_they_are(monkeypatch, tmp_path):
    commands = []

    def note(command):
        commands.append(command)
        np.savez(command[7], images=np.ones((1, 1)), texts=np.ones((1, 1)), reader="other 1.0")
        return subprocess.CompletedProcess(command, 0, "", "")

    child(monkeypatch, note)
    answer = parity.ask("onnxruntime", tmp_path / "a b; c", samples([[1.0]], [[1.0]]), "vision", "text")
    assert answer["reader"] == "other 1.0"
    (words,) = commands  # for no shell
    assert words[1:3] == ["-P", "-m"]
    assert words[3:6] == ["clipclean.export.read_back", "onnxruntime", str(tmp_path / "a b; c")]
    assert words[-2:] == ["vision", "text"]


@pytest.mark.slow
def test_nothing_is_imported_from_the_folder_that_the_user_works_in(tmp_path, monkeypatch):
    """``python -m`` would: a model's folder with a numpy.py in it would run."""
    for name in ("numpy", "torch", "open_clip", "clipclean"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(parity.ExportMismatch, match="open_clip"):
        parity.ask("open_clip", tmp_path, samples([[1.0]], [[1.0]]))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("n", "sizes"), [(1, [1]), (2, [1, 1]), (3, [1, 2]), (5, [1, 2, 2]), (6, [1, 2, 3]), (63, [1, 2, 3, 57])]
)
def test_batches_grow_to_three_before_the_rest(n, sizes):
    rows = np.arange(2 * n).reshape(n, 2)
    taken = []
    assert np.array_equal(read_back.embed_in_batches(lambda part: taken.append(len(part)) or part, rows), rows)
    assert taken == sizes


def test_inputs_get_the_type_that_the_graph_declares():
    """The session gives back what it was fed."""
    asked = SimpleNamespace(name="input_ids", type="tensor(int32)")
    fed = read_back.run(SimpleNamespace(get_inputs=lambda: [asked], run=lambda _, feed: [feed]), np.array([[49406, 0]]))
    assert (fed["input_ids"].dtype, fed["input_ids"].tolist()) == (np.int32, [[49406, 0]])
