import contextlib
import json
import os
import resource
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from report import samples

from clipclean import report
from clipclean.jobs import result_cache

IMAGES = report.PageImages(found_triggers=({"title": "t", "caption": "c", "png_base64": "AA==", "alt": "a"},))


@pytest.fixture(autouse=True)
def _own(tmp_path, monkeypatch):
    """A state and a cache of the test's own."""
    monkeypatch.setenv("CLIPCLEAN_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("CLIPCLEAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def text(verdict="fail"):
    made = json.loads(report.json(report.parse(samples.failed())))
    return json.dumps(made | {"verdict": verdict})


def kept(key="a" * 64, verdict="fail"):
    assert result_cache.save(key, text(verdict), IMAGES)
    return key


def loaded(key):
    """The verdict and the notes of what is kept under a key; None where nothing is."""
    found = result_cache.load(key)
    if found is None:
        return None
    made = json.loads(report.json(found.report))
    return made["verdict"], made["notes"]


def the_only(folder):
    (path,) = folder.glob("*.result")
    return path


# What is kept.


def test_what_was_kept_comes_back_and_says_where_from():
    key = kept()
    verdict, notes = loaded(key)
    assert verdict == "fail"
    assert "Taken from the result cache" in notes[-1]
    assert result_cache.load(key).images == IMAGES


def test_nothing_is_found_under_another_key():
    kept("a" * 64)
    assert loaded("b" * 64) is None


def test_the_folder_and_the_entries_are_the_users_alone(folder, tmp_path):
    kept()
    for path in (folder, the_only(folder), tmp_path / "state" / "keys", tmp_path / "state" / "keys" / "cache"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_the_oldest_go_where_there_are_too_many(monkeypatch, folder):
    monkeypatch.setattr(result_cache, "MAX_ENTRIES", 2)
    for number, key in enumerate(("a" * 64, "b" * 64, "c" * 64)):
        kept(key)
        os.utime(folder / f"{key}.result", (number, number))
    kept("d" * 64)
    assert {path.name[0] for path in folder.glob("*.result")} == {"c", "d"}


def test_the_list_and_clear(folder):
    kept("a" * 64, "fail")
    kept("b" * 64, "pass")
    (folder / "of the user.txt").write_text("precious")
    assert sorted(entry.verdict for entry in result_cache.entries()) == ["fail", "pass"]
    assert result_cache.clear() == 2
    assert result_cache.entries() == []
    assert [path.name for path in folder.iterdir()] == ["of the user.txt"]


# Keys.


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    return path


def test_equal_files_and_settings_have_one_key_and_any_other_another(model, tmp_path):
    data = tmp_path / "data"
    (data / "dog").mkdir(parents=True)
    (data / "dog" / "1.png").write_bytes(b"image")
    settings = {"effort": "quick", "seed": 0}

    def key(**changes):
        return result_cache.key(settings | changes, {"model": model, "data": data, "policy": None})

    first = key()
    assert first == key()
    keys = {first, key(seed=1), key(effort="standard")}
    model.write_bytes(b"weightz")  # as long, and perhaps within the same second
    keys.add(key())
    (data / "dog").rename(data / "cat")
    keys.add(key())
    (data / "cat" / "1.png").write_bytes(b"imagf")
    keys.add(key())
    assert len(keys) == 6


def test_another_program_has_another_key(model, monkeypatch):
    before = result_cache.key({}, {"model": model})
    monkeypatch.setattr(result_cache.metadata, "version", lambda name: "0")
    assert result_cache.key({}, {"model": model}) != before


def test_what_cannot_be_read_has_no_key(tmp_path):
    assert result_cache.key({}, {"model": tmp_path / "none.pt"}) is None
    os.mkfifo(tmp_path / "pipe")
    assert result_cache.key({}, {"model": tmp_path / "pipe"}) is None


def test_data_that_name_other_files_are_not_self_contained(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "1.png").touch()
    (tmp_path / "a.tar").touch()
    (tmp_path / "a.csv").touch()
    assert result_cache.is_self_contained(folder)
    assert result_cache.is_self_contained(tmp_path / "a.tar")
    assert not result_cache.is_self_contained(tmp_path / "a.csv")
    assert not result_cache.is_self_contained(tmp_path / "{0..9}.tar")
    (folder / "metadata.jsonl").touch()
    assert not result_cache.is_self_contained(folder)
    (folder / "metadata.jsonl").unlink()
    (folder / "more").symlink_to(tmp_path)
    assert not result_cache.is_self_contained(folder)


# Folders that somebody else had a hand in.


def planted_by_another_key(folder, key):
    """An entry by somebody who knows the layout, and not this user's key."""
    body = json.dumps({"kept": "2026-01-01", "report": text("pass"), "images": []}).encode()
    code = result_cache._code(b"x" * 32, key, body)
    the_only(folder).write_bytes(code + b"\n" + body)


def changed(folder, key):
    path = the_only(folder)
    path.write_bytes(path.read_bytes().replace(b"fail", b"pass"))


def renamed(folder, key):
    kept("b" * 64, "pass")
    (folder / f"{'b' * 64}.result").replace(folder / f"{key}.result")


def cut(folder, key):
    path = the_only(folder)
    path.write_bytes(path.read_bytes()[:-100])


def emptied(folder, key):
    the_only(folder).write_bytes(b"")


def a_folder(folder, key):
    the_only(folder).unlink()
    (folder / f"{key}.result").mkdir()


def a_pipe(folder, key):
    the_only(folder).unlink()
    os.mkfifo(folder / f"{key}.result")


def huge(folder, key):
    with the_only(folder).open("ab") as stream:
        stream.truncate(2**40)


def without_its_key(folder, key):
    (folder.parent / "state" / "keys" / "cache").write_bytes(b"y" * 32)


def writable_by_others(folder, key):
    folder.chmod(0o777)


def a_link(folder, key):
    folder.rename(folder.parent / "elsewhere")
    folder.symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize(
    "harm",
    [
        planted_by_another_key,
        changed,
        renamed,
        cut,
        emptied,
        a_folder,
        a_pipe,
        huge,
        without_its_key,
        writable_by_others,
        a_link,
    ],
)
def test_an_entry_that_is_not_ours_is_as_if_it_were_not_there(folder, harm):
    key = kept()
    harm(folder, key)
    assert loaded(key) is None


def test_a_folder_that_cannot_be_written_keeps_nothing_and_ends_nothing(folder, monkeypatch, tmp_path):
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(result_cache, "_write", full)
    assert not result_cache.save("a" * 64, text(), IMAGES)
    assert list(folder.iterdir()) == []
    monkeypatch.setenv("CLIPCLEAN_CACHE", str(tmp_path / "file" / "cache"))
    (tmp_path / "file").touch()
    assert not result_cache.save("a" * 64, text(), IMAGES)
    assert result_cache.load("a" * 64) is None


def full(path, content):
    raise OSError(28, "No space left on device")


@contextlib.contextmanager
def disk_of(size):
    """No file may grow beyond so many bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_keeps_nothing_and_loses_nothing(folder):
    first = kept("a" * 64, "fail")
    with disk_of(200):
        assert not result_cache.save("b" * 64, text(), IMAGES)
        assert not result_cache.save(first, text("pass"), IMAGES)
    assert [path.name for path in folder.iterdir()] == [f"{first}.result"]  # and nothing half written
    assert loaded(first)[0] == "fail"


def test_two_runs_that_keep_and_read_the_same_entry_at_once_see_it_whole_or_not_at_all():
    verdicts = {"fail": 0, "pass": 0}

    def write(verdict):
        return [result_cache.save("a" * 64, text(verdict), IMAGES) for _ in range(20)]

    with ThreadPoolExecutor(3) as threads:
        writing = [threads.submit(write, verdict) for verdict in verdicts]
        while not all(each.done() for each in writing):
            if (found := loaded("a" * 64)) is not None:
                verdicts[found[0]] += 1
    assert all(all(each.result()) for each in writing)
    assert loaded("a" * 64)[0] in verdicts


def test_a_cache_of_another_user_is_left_alone(tmp_path, monkeypatch):
    """As where a job runs with another user's home: nothing is read from there, and nothing is kept."""
    if os.geteuid() != 0:
        pytest.skip("only root makes files of other users")
    key = kept()
    for path in (tmp_path / "cache", *(tmp_path / "cache").iterdir()):
        os.chown(path, 65534, 65534)
    assert result_cache.load(key) is None
    assert not result_cache.save("b" * 64, text(), IMAGES)


def test_clearing_follows_no_link_and_removes_entries_only(folder, tmp_path):
    kept()
    (tmp_path / "precious.result").write_text("precious")
    (folder / "link.result").symlink_to(tmp_path / "precious.result")
    result_cache.clear()
    assert (tmp_path / "precious.result").read_text() == "precious"
