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


def test_the_latest_state_comes_back_bit_by_bit_and_without_one_a_run_begins_at_its_beginning(state):
    first, second, third = model(0), model(1), model(2)
    assert state.resume(*second) == TrainingSoFar()
    assert not equal(first, second)
    state.save(*third, TrainingSoFar(1))
    state.save(*first, TrainingSoFar(7, [{"step": 0, "loss": 1.5}], 2.5))
    assert state.resume(*second) == (7, [{"step": 0, "loss": 1.5}], 2.5)
    assert equal(first, second)
    assert [path.name for path in state.folder.iterdir()] == [f"{resume.STATE_NAME}{resume.STATE_SUFFIX}"]


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
def test_moments_come_back_to_the_device_of_their_parameter_and_the_step_to_the_cpu(state):
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
def test_a_state_that_cannot_be_read_is_ignored_and_touches_nothing(state, damage):
    state.save(*model(0), TrainingSoFar(7))
    damaged(state, damage)
    found = model(1)
    assert state.resume(*found) == TrainingSoFar()
    assert equal(found, model(1))


def test_a_state_belongs_to_one_set_of_decisions_in_any_order_and_to_one_output_in_any_spelling(tmp_path, monkeypatch):
    out = tmp_path / "out"
    first = RunState.of(out, {"seed": 0, "data": "a"})
    assert first == RunState.of(out, {"data": "a", "seed": 0})
    assert first.fingerprint != RunState.of(out, {"seed": 1, "data": "a"}).fingerprint
    assert first.folder == RunState.of(out, {"seed": 1}).folder
    monkeypatch.chdir(tmp_path)
    spellings = ["out", "./out", f"../{tmp_path.name}/out", tmp_path / "out"]
    assert len({RunState.of(Path(each), {}) for each in spellings}) == 1


@pytest.mark.parametrize(
    ("told", "home"),
    [
        ({"CLIPCLEAN_STATE": "{}/mine", "XDG_STATE_HOME": "{}/xdg"}, "mine"),
        ({"XDG_STATE_HOME": "{}/xdg"}, "xdg/clipclean"),
        ({"XDG_STATE_HOME": "relative/is/ignored", "HOME": "{}/home"}, "home/.local/state/clipclean"),
    ],
)
def test_states_lie_where_the_user_says_or_below_the_home_and_nowhere_else(tmp_path, monkeypatch, told, home):
    monkeypatch.delenv("CLIPCLEAN_STATE")
    for name, value in told.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    assert own_state.home() == tmp_path / home
    assert own_state.place_of(tmp_path / "out").is_relative_to(tmp_path / home)
    monkeypatch.setenv("CLIPCLEAN_STATE", "state")
    with pytest.raises(UsageError, match="state"):
        own_state.home()
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLIPCLEAN_STATE", str(tmp_path / "file" / "state"))
    with pytest.raises(ResourceError, match="CLIPCLEAN_STATE"), RunState.of(tmp_path / "out", {}).locked():
        pass


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A state whose folder for all states is this test's own."""
    monkeypatch.setenv("CLIPCLEAN_STATE", str(tmp_path / "states"))
    return RunState.of(tmp_path / "out", {})


def test_nobody_but_the_user_can_enter_the_folders_and_only_what_a_run_writes_is_ever_deleted(own, tmp_path):
    with own.locked():
        own.part("inner", {}).keep("note", 0)
        for folder in (own_state.home(), own.folder.parent, own.folder, own.folder / "inner"):
            assert folder.stat().st_mode & 0o777 == 0o700
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "weights.safetensors").touch()
    with own.locked():
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
def test_links_and_folders_that_others_may_write_in_hold_no_state(own, tmp_path, depth, mode):
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


def test_values_tensors_and_parts_are_kept_by_name_and_belong_to_equal_runs(tmp_path):
    state = RunState.of(tmp_path / "out", {"seed": 0})
    with state.locked():
        assert state.recall("note") is None
        state.keep("note", {"worst": 0.25, "names": frozenset("ba"), "rates": (Rate(1, 2),)}, kinds=(Rate,))
        state.keep("weights", [{"net.a": torch.ones(2)}])
        with pytest.raises(TypeError, match="Rate"):
            state.keep("rate", Rate(1, 2))
    assert state.recall("note", kinds=(Rate,)) == {"worst": 0.25, "names": frozenset("ab"), "rates": (Rate(1, 2),)}
    assert torch.equal(state.recall("weights")[0]["net.a"], torch.ones(2))
    assert RunState.of(tmp_path / "out", {"seed": 1}).recall("note") is None
    with state.locked():
        first, second = state.part("first", {"number": 1}), state.part("second", {"number": 2})
        net, optimizer = model(0)
        first.save(net, optimizer, TrainingSoFar(3))
        assert first.resume(*model(1))[0] == 3
        assert second.resume(*model(1))[0] == 0
        assert state.part("first", {"number": 2}).resume(*model(1))[0] == 0
    assert state.folder.exists()
    with state.locked():
        state.discard()
        state.discard()
    assert not state.folder.exists()
