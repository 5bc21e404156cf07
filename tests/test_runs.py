import errno
import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from clipclean import export, runs
from clipclean.errors import ResourceError, UsageError
from clipclean.runs import RunState


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
    found.folder.mkdir()
    return found


def test_what_was_saved_comes_back_bit_by_bit(state):
    first, second = model(0), model(1)
    assert not equal(first, second)
    state.save(*first, step=7, losses=[{"step": 0, "loss": 1.5}], seconds=2.5)
    assert state.resume(*second) == (7, [{"step": 0, "loss": 1.5}], 2.5)
    assert equal(first, second)


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
def test_moments_come_back_to_the_device_of_their_parameter_and_the_step_to_the_cpu(state):
    state.save(*model(0), step=1, losses=[], seconds=0.0)
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).to("meta")
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    state.resume(net, optimizer)
    moments = optimizer.state[net[0].weight]
    assert {name: moment.device.type for name, moment in moments.items()} == {
        "exp_avg": "meta",
        "exp_avg_sq": "meta",
        "step": "cpu",
    }


def test_a_later_state_replaces_the_earlier_one(state):
    state.save(*model(0), step=1, losses=[], seconds=0.0)
    state.save(*model(2), step=2, losses=[], seconds=0.0)
    found = model(1)
    assert state.resume(*found)[0] == 2
    assert equal(found, model(2))
    assert [path.name for path in state.folder.iterdir()] == [runs.STATE]


def record(value):
    return {runs.RECORD: torch.tensor(list(value.encode()), dtype=torch.uint8), "net.0.weight": torch.zeros(3, 3)}


def damaged(state, damage):
    path = state.folder / runs.STATE
    if isinstance(damage, dict):
        export.write_safetensors(path, damage, metadata={})
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
    ],
)
def test_a_state_that_cannot_be_read_is_ignored_and_touches_nothing(state, damage):
    state.save(*model(0), step=7, losses=[], seconds=0.0)
    damaged(state, damage)
    found = model(1)
    assert state.resume(*found) == (0, [], 0.0)
    assert equal(found, model(1))


def test_without_a_state_a_run_begins_at_its_beginning(state):
    assert state.resume(*model(0)) == (0, [], 0.0)


def test_a_state_belongs_to_one_set_of_decisions_in_any_order(tmp_path):
    out = tmp_path / "out"
    first = RunState.of(out, {"seed": 0, "data": "a"})
    assert first == RunState.of(out, {"data": "a", "seed": 0})
    assert first.fingerprint != RunState.of(out, {"seed": 1, "data": "a"}).fingerprint
    assert first.folder == RunState.of(out, {"seed": 1}).folder


def test_a_full_disk_leaves_the_state_before(state, monkeypatch):
    state.save(*model(0), step=1, losses=[], seconds=0.0)

    def full(path, *_, **__):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(export, "write_safetensors", full)
    with pytest.raises(ResourceError, match="No space left"):
        state.save(*model(2), step=2, losses=[], seconds=0.0)
    assert [path.name for path in state.folder.iterdir()] == [runs.STATE]
    assert state.resume(*model(1))[0] == 1


def test_one_process_holds_the_lock_and_gives_it_back(tmp_path):
    state = RunState.of(tmp_path / "out", {})
    with state.locked():
        with pytest.raises(UsageError, match="Another clipclean run is writing this output"), state.locked():
            pass
        assert state.folder.is_dir()  # who is refused removes nothing
    with state.locked():
        pass


def test_another_spelling_of_the_output_is_the_same_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spellings = ["out", "./out", f"../{tmp_path.name}/out", tmp_path / "out"]
    assert len({RunState.of(Path(each), {}) for each in spellings}) == 1


@pytest.mark.parametrize("error", [None, RuntimeError("x"), KeyboardInterrupt()])
def test_the_folder_stays_only_if_a_state_was_saved(tmp_path, error):
    def use(*, save):
        state = RunState.of(tmp_path / "out", {})
        try:
            with state.locked():
                if save:
                    state.save(*model(0), step=1, losses=[], seconds=0.0)
                if error:
                    raise error
        except (RuntimeError, KeyboardInterrupt):
            pass
        return state.folder.exists()

    assert not use(save=False)
    assert use(save=True)


def test_a_forgotten_state_takes_the_folder_with_it(tmp_path):
    state = RunState.of(tmp_path / "out", {})
    with state.locked():
        state.save(*model(0), step=1, losses=[], seconds=0.0)
        state.discard()
        state.discard()
    assert not state.folder.exists()


def test_a_folder_that_cannot_be_made_is_a_resource_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="Cannot write"), RunState.of(tmp_path / "file" / "out", {}).locked():
        pass


def test_the_state_lies_beside_the_output_or_in_it_where_it_must(tmp_path, monkeypatch):
    out = tmp_path / "out"
    beside, inside = tmp_path / ".out.clipclean-run", out / ".clipclean-run"
    assert runs.folder_of(out) == beside
    out.mkdir()
    assert runs.folder_of(out) == beside
    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_mount", lambda path: path == out)  # a container's volume: nothing moves across
        assert runs.folder_of(out) == inside
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    assert runs.folder_of(out) == inside


def test_the_record_is_in_the_same_file_as_the_weights(state):
    from clipclean import checkpoint

    state.save(*model(0), step=7, losses=[], seconds=0.0)
    tensors = checkpoint.read(state.folder / runs.STATE).tensors
    assert json.loads(bytes(tensors[runs.RECORD].tolist()))["step"] == 7


def test_records_and_tensors_are_kept_by_name_and_belong_to_equal_runs(tmp_path):
    state = RunState.of(tmp_path / "out", {"seed": 0})
    with state.locked():
        assert state.read("note") is None
        state.write({}, {"worst": 0.25}, name="note")
        state.write({"net.a": torch.ones(2)}, {}, name="weights")
    assert state.read("note") == ({}, {"worst": 0.25})
    assert torch.equal(state.read("weights")[0]["net.a"], torch.ones(2))
    assert RunState.of(tmp_path / "out", {"seed": 1}).read("note") is None


def test_a_part_of_a_run_has_a_state_of_its_own_that_goes_with_the_run(tmp_path):
    state = RunState.of(tmp_path / "out", {"seed": 0})
    with state.locked():
        first, second = state.part("first", {"rung": 1}), state.part("second", {"rung": 2})
        first.save(*model(0), step=3, losses=[], seconds=0.0)
        assert first.resume(*model(1))[0] == 3
        assert second.resume(*model(1))[0] == 0
        assert state.part("first", {"rung": 2}).resume(*model(1))[0] == 0
    assert state.folder.exists()
    with state.locked():
        state.discard()
    assert not state.folder.exists()
