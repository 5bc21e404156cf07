from pathlib import Path

import pytest
import torch
from torch import nn

from clipclean import checkpoint, own_state
from clipclean.detect import Rate
from clipclean.errors import ResourceError, UsageError
from clipclean.train import RunState, resume
from clipclean.train.resume import TrainingSoFar


def model(seed):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    net(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    return net, optimizer


def everything(net, optimizer):
    moments = [t for values in optimizer.state_dict()["state"].values() for _, t in sorted(values.items())]
    return [*net.state_dict().values(), *moments]


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(everything(*a), everything(*b), strict=True))


@pytest.fixture
def state(tmp_path):
    found = RunState.of(tmp_path / "out", {"seed": 0})
    found.folder.mkdir(parents=True)
    return found


def test_without_a_state_a_run_begins_at_its_beginning(state):
    assert state.resume(*model(1)) == TrainingSoFar()


def test_the_latest_state_comes_back_bit_by_bit(state):
    first, second, third = model(0), model(1), model(2)
    assert not equal(first, second)
    state.save(*third, TrainingSoFar(1))
    state.save(*first, TrainingSoFar(7, [{"step": 0, "loss": 1.5}], 2.5))
    assert state.resume(*second) == (7, [{"step": 0, "loss": 1.5}], 2.5)
    assert equal(first, second)
    assert [path.name for path in state.folder.iterdir()] == [f"{resume.STATE_NAME}{resume.STATE_SUFFIX}"]


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
def test_moments_come_back_to_the_device_of_their_parameter(state):
    state.save(*model(0), TrainingSoFar(1))
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).to("meta")
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    state.resume(net, optimizer)
    moments = optimizer.state[net[0].weight]
    places = {name: moment.device.type for name, moment in moments.items()}
    assert places == {"exp_avg": "meta", "exp_avg_sq": "meta", "step": "cpu"}


def record(value):
    return {
        resume.RECORD_NAME: torch.tensor(list(value.encode()), dtype=torch.uint8),
        "net.0.weight": torch.zeros(3, 3),
    }


def damaged(state, damage):
    path = state.folder / f"{resume.STATE_NAME}{resume.STATE_SUFFIX}"
    if isinstance(damage, dict):
        checkpoint.write_safetensors(path, damage, metadata={})
    else:
        path.write_bytes(damage(path.read_bytes()))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: b"no state at all",
        {"net.0.weight": torch.zeros(3, 3)},
        record("not JSON"),
        record("[1, 2]"),
        record('"text"'),
        record("{}"),
        record('{"fingerprint": "another"}'),
        lambda data: data.replace(b'"value"', b'"other"'),  # as an earlier version kept it
    ],
)
def test_a_state_that_cannot_be_read_changes_nothing(state, damage):
    state.save(*model(0), TrainingSoFar(7))
    damaged(state, damage)
    beginning = model(1)
    assert state.resume(*beginning) == TrainingSoFar()
    assert equal(beginning, model(1))


def test_a_state_belongs_to_one_set_of_decisions_in_any_order(tmp_path):
    out = tmp_path / "out"
    first = RunState.of(out, {"seed": 0, "data": "a"})
    assert first == RunState.of(out, {"data": "a", "seed": 0})
    assert first.fingerprint != RunState.of(out, {"seed": 1, "data": "a"}).fingerprint


def test_the_states_of_an_output_lie_in_one_folder(tmp_path):
    first, other = (RunState.of(tmp_path / "out", decisions) for decisions in ({"seed": 0, "data": "a"}, {"seed": 1}))
    assert first.folder == other.folder


def test_the_spelling_of_an_output_decides_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spellings = ["out", "./out", f"../{tmp_path.name}/out", tmp_path / "out"]
    assert len({RunState.of(Path(each), {}) for each in spellings}) == 1


@pytest.mark.parametrize(
    ("variables", "home"),
    [
        ({"CLIPCLEAN_STATE": "{}/mine", "XDG_STATE_HOME": "{}/xdg"}, "mine"),
        ({"XDG_STATE_HOME": "{}/xdg"}, "xdg/clipclean"),
        ({"XDG_STATE_HOME": "relative/is/ignored", "HOME": "{}/home"}, "home/.local/state/clipclean"),
    ],
)
def test_states_lie_where_the_user_says_or_below_the_home(tmp_path, monkeypatch, variables, home):
    monkeypatch.delenv("CLIPCLEAN_STATE")
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    assert own_state.home() == tmp_path / home
    assert own_state.place_of(tmp_path / "out").is_relative_to(tmp_path / home)


@pytest.fixture
def other_places(tmp_path, monkeypatch):
    """Places below which states would lie if the user named none."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.usefixtures("other_places")
def test_a_relative_place_for_states_is_refused(monkeypatch):
    monkeypatch.setenv("CLIPCLEAN_STATE", "state")
    with pytest.raises(UsageError, match="state"):
        own_state.home()


@pytest.mark.usefixtures("other_places")
def test_a_place_for_states_that_cannot_be_made_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLIPCLEAN_STATE", str(tmp_path / "file" / "state"))
    with pytest.raises(ResourceError, match="CLIPCLEAN_STATE"), RunState.of(tmp_path / "out", {}).locked():
        pass


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A state whose folder for all states is this test's own."""
    monkeypatch.setenv("CLIPCLEAN_STATE", str(tmp_path / "states"))
    return RunState.of(tmp_path / "out", {})


def test_nobody_but_the_user_can_enter_the_folders(own):
    with own.locked():
        own.part("inner", {}).keep("note", 0)
        for folder in (own_state.home(), own.folder.parent, own.folder, own.folder / "inner"):
            assert folder.stat().st_mode & 0o777 == 0o700


def test_only_what_a_run_writes_is_ever_deleted(own, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "weights.safetensors").touch()
    with own.locked():
        own.part("inner", {}).keep("note", 0)
        own.keep("note", 0)
        (own.folder / ".tmpAb3xYz").touch()  # the safetensors library's
        (own.folder / ".note.safetensors.1234.partial").touch()
        (own.folder / "letter.txt").write_text("mine")
        (own.folder / "link").symlink_to(tmp_path / "elsewhere")
        own.discard()
    assert sorted(path.name for path in own.folder.iterdir()) == ["letter.txt", "link"]
    assert (tmp_path / "elsewhere" / "weights.safetensors").exists()


@pytest.mark.parametrize(
    ("depth", "mode"), [*((depth, None) for depth in range(3)), *((2, mode) for mode in (0o770, 0o707, 0o777))]
)
def test_a_place_that_others_may_have_made_holds_no_state(own, tmp_path, depth, mode):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.safetensors").write_text("years")
    place = (own_state.home(), own.folder.parent, own.folder)[depth]
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if mode is None:
        place.symlink_to(precious)
    else:
        place.mkdir()
        place.chmod(mode)
    with pytest.raises(ResourceError), own.locked():
        pass
    assert [path.name for path in precious.iterdir()] == ["thesis.safetensors"]


NOTE = {"worst": 0.25, "names": frozenset("ba"), "rates": (Rate(1, 2),)}


def test_values_are_kept_by_name(own):
    with own.locked():
        assert own.recall("note") is None
        own.keep("note", NOTE, kinds=(Rate,))
        own.keep("weights", [{"net.a": torch.ones(2)}])
    assert own.recall("note", kinds=(Rate,)) == NOTE
    assert torch.equal(own.recall("weights")[0]["net.a"], torch.ones(2))


def test_a_value_of_a_kind_that_no_longer_is_is_not_recalled(own):
    with own.locked():
        own.keep("note", NOTE, kinds=(Rate,))
    assert own.recall("note") is None


def test_a_value_of_a_kind_that_is_not_named_is_not_kept(own):
    with own.locked(), pytest.raises(TypeError, match="Rate"):
        own.keep("rate", Rate(1, 2))


def test_values_belong_to_equal_runs(own, tmp_path):
    with own.locked():
        own.keep("note", NOTE, kinds=(Rate,))
    assert RunState.of(tmp_path / "out", {"seed": 1}).recall("note") is None


def test_each_part_has_a_state_of_its_own(own):
    with own.locked():
        first, second = own.part("first", {"number": 1}), own.part("second", {"number": 2})
        first.save(*model(0), TrainingSoFar(3))
        assert first.resume(*model(1))[0] == 3
        assert second.resume(*model(1))[0] == 0
        assert own.part("first", {"number": 2}).resume(*model(1))[0] == 0


def test_a_state_that_was_discarded_is_gone_with_its_parts(own):
    with own.locked():
        own.keep("note", 0)
        own.part("first", {}).save(*model(0), TrainingSoFar(3))
    assert own.folder.exists()
    with own.locked():
        own.discard()
        own.discard()
    assert not own.folder.exists()
