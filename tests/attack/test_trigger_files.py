import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Generator

from clipclean import checkpoint, data, detect, files
from clipclean.attack import trigger_files
from clipclean.detect.inversion import SmallestTrigger
from clipclean.detect.search import Margin
from clipclean.errors import RefusedInput, ResourceError, UsageError
from clipclean.jobs import naming

SIDE = 16
each_family = pytest.mark.parametrize("family", detect.SEARCH_FAMILIES)


def trigger(family="mask", target="banana", *, seed=0):
    row = detect.SEARCH_FAMILIES[family].begin(1, SIDE, Generator().manual_seed(seed))
    return detect.InvertedTrigger(family, target, {key: values[0] for key, values in row.items()}, SIDE)


def hit(family="mask", target="banana"):
    """What ``save`` looks at of a hit."""
    found = trigger(family, target)
    candidate = SmallestTrigger(family, 0, found.parameters, found.size, True)
    return detect.TargetedResult(candidate, found, None, 0.0, 0.0, Margin(0.0), 0.0, None)


def spoiled(folder, **changes):
    """A file that an audit would have written, but for its tensors or metadata."""
    found = trigger()
    metadata = {"class": found.target, "family": found.family, "side": str(found.side)}
    path = folder / "spoiled.safetensors"
    tensors = changes.pop("tensors", found.parameters)
    save_file({key: values.contiguous() for key, values in tensors.items()}, path, {**metadata, **changes})
    return path


@each_family
def test_what_was_saved_is_read_back_as_the_same_trigger(tmp_path, family):
    saved = trigger_files.save([hit(family, "Überraschung")], tmp_path / "found")
    (name,) = saved.values()
    assert saved == {f"found:{family},class=Überraschung": f"01-{family}.safetensors"}
    loaded, original = trigger_files.load(tmp_path / "found" / name), trigger(family, "Überraschung")
    assert (loaded.family, loaded.target, loaded.side, loaded.spec) == (family, original.target, SIDE, original.spec)
    images = torch.rand(3, 3, SIDE, SIDE, generator=Generator().manual_seed(1))
    assert torch.equal(loaded(images), original(images))
    assert set(load_file(tmp_path / "found" / name)) == set(original.parameters)  # another reader reads it too


def test_saved_triggers_are_numbered(tmp_path):
    saved = trigger_files.save([hit("wave"), hit("mask"), hit("mask", "lemon")], tmp_path)
    assert list(saved.values()) == ["01-wave.safetensors", "02-mask.safetensors", "03-mask.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(saved.values())


def test_a_saved_trigger_is_what_sanitize_takes(tmp_path):
    trigger_files.save([hit(target="banana")], tmp_path)
    words = data.Vocabulary(("lemon", "banana"), ("a {}.",))
    ((suspicion, place),) = naming.suspicions([str(tmp_path / "01-mask.safetensors")], None, words)
    assert (suspicion.spec, place) == ("found:mask,class=banana", 1)


@pytest.mark.parametrize("error", [ResourceError("The disk is full."), KeyboardInterrupt()])
@pytest.mark.parametrize("is_new", [True, False])
def test_all_are_written_or_none(tmp_path, monkeypatch, error, is_new):
    write, written = files.write_whole, []

    def failing(path, writer):
        if written:
            raise error
        written.append(path)
        write(path, writer)

    monkeypatch.setattr(files, "write_whole", failing)
    folder = tmp_path / "found"
    if not is_new:
        folder.mkdir()
    with pytest.raises(type(error)):
        trigger_files.save([hit("mask"), hit("wave")], folder)
    assert len(written) == 1
    assert folder.exists() is not is_new
    assert list(tmp_path.rglob("*.*")) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"family": "swirl"}, "'swirl'"),
        *(({"class": name}, "class") for name in ("  ", "a\x1b[31m", "x" * 1001)),
        *(({"side": side}, f"'{side}' px") for side in ("0", "-16", "99999")),
        ({"side": "١٦"}, r"'\u0661\u0666' px"),
        ({"side": "24"}, "24 px"),
        ({"family": "wave"}, "'mask'"),
        ({"more": "words"}, ""),
        ({"tensors": {"weight": torch.zeros(2)}}, "'weight'"),
        ({"tensors": {key: values.half() for key, values in trigger().parameters.items()}}, "float16"),
        ({"tensors": trigger().parameters | {"mask": torch.full((1, SIDE, SIDE), float("nan"))}}, "NaN"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_a_file_that_is_no_trigger_is_refused(tmp_path, changes, named):
    with pytest.raises(RefusedInput) as told:
        trigger_files.load(spoiled(tmp_path, **changes))
    assert named in str(told.value)
    assert "\x1b" not in str(told.value)


def test_the_largest_trigger_is_within_the_limit():
    side = trigger_files.LARGEST_SIDE
    for family in detect.SEARCH_FAMILIES.values():
        shapes = family.begin(1, side, Generator())
        assert (
            sum(values.numel() * values.element_size() for values in shapes.values()) < trigger_files.MAX_TRIGGER_BYTES
        )


def test_a_broken_file_is_refused(tmp_path):
    cut = spoiled(tmp_path)
    cut.write_bytes(cut.read_bytes()[:-10])
    for path in (cut, tmp_path / "none.safetensors"):
        with pytest.raises(RefusedInput):
            trigger_files.load(path)


def test_a_file_beyond_the_limit_is_refused(tmp_path, monkeypatch):
    assert checkpoint.read_tensors(spoiled(tmp_path), limit=trigger_files.MAX_TRIGGER_BYTES).tensors
    monkeypatch.setattr(trigger_files, "MAX_TRIGGER_BYTES", 100)
    with pytest.raises(RefusedInput, match="100"):
        trigger_files.load(spoiled(tmp_path))


def test_a_folder_is_taken_before_the_slow_work_if_it_is_new_or_empty(tmp_path):
    trigger_files.check_folder(tmp_path / "new" / "deeper")
    trigger_files.check_folder(tmp_path)  # empty
    assert list(tmp_path.iterdir()) == []
    taken, file, link = tmp_path / "taken", tmp_path / "file", tmp_path / "link"
    taken.mkdir()
    (taken / "x").write_text("")
    file.write_text("")
    link.symlink_to(tmp_path / "elsewhere")
    for path in (taken, file, link):
        with pytest.raises(UsageError, match=path.name):
            trigger_files.check_folder(path)


def test_a_folder_that_cannot_be_made_is_a_resource_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError):
        trigger_files.save([hit()], tmp_path / "file" / "found")
