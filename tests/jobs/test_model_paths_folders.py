from pathlib import Path

import pytest

from clipclean.errors import UsageError
from clipclean.jobs import model_paths


def touched(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def relative(folder, *given):
    return [str(path.relative_to(folder)) for path in model_paths.expanded(given)]


def test_files_and_names_stand_for_themselves_whether_they_are_there_or_not(tmp_path):
    given = [Path("hf-hub:org/model"), tmp_path / "missing.pt", Path("null\0byte")]
    assert model_paths.expanded(given) == given


def test_a_folder_stands_for_the_weights_and_the_model_folders_in_it(tmp_path):
    touched(tmp_path, "b.pt", "a/x.safetensors", "a/notes.md", "hub/config.json", "hub/model.safetensors", "c/d/e.ckpt")
    assert relative(tmp_path, tmp_path) == ["a/x.safetensors", "b.pt", "c/d/e.ckpt", "hub"]
    assert relative(tmp_path, tmp_path / "hub") == ["hub"]


def test_shards_stand_for_their_index(tmp_path):
    touched(tmp_path, "m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors", "m.safetensors.index.json")
    assert relative(tmp_path, tmp_path) == ["m.safetensors.index.json"]


def test_a_folder_without_models_is_left_to_the_reader_that_refuses_it(tmp_path):
    touched(tmp_path, "notes.md")
    assert model_paths.expanded([tmp_path]) == [tmp_path]


def test_a_model_that_is_named_twice_is_one(tmp_path):
    touched(tmp_path, "a.pt", "b.pt")
    assert relative(tmp_path, tmp_path / "b.pt", tmp_path) == ["b.pt", "a.pt"]


def test_links_in_a_folder_are_left_out(tmp_path):
    outside = touched(tmp_path / "outside", "secret.pt", "hub/config.json")
    folder = touched(tmp_path / "folder", "a.pt")
    (folder / "link.pt").symlink_to(outside / "secret.pt")
    (folder / "linked").symlink_to(outside)
    (folder / "hub").symlink_to(outside / "hub")
    (folder / "round").symlink_to(folder)
    assert relative(folder, folder) == ["a.pt"]


def test_more_models_than_anybody_has_are_refused(tmp_path):
    touched(tmp_path, *(f"{number}.pt" for number in range(model_paths.MOST + 1)))
    with pytest.raises(UsageError, match="more than 1,000 models"):
        model_paths.expanded([tmp_path])
