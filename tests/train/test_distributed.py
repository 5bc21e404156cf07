import math
import multiprocessing
import signal
import threading
from datetime import timedelta

import processes
import pytest
import torch

from clipclean import deadline
from clipclean.detect import Rate
from clipclean.errors import Inconclusive, UsageError
from clipclean.train.distributed import ALONE, Group, Launch, LostProcess, joined, launch_of, leftovers


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    with pytest.raises(UsageError, match=r"64.*3.*train\.batch_size=63"):
        Group(0, 3).check(64)
    Group(0, 4).check(64)


def test_a_process_that_is_alone_gathers_nothing():
    encode = lambda x: x  # noqa: E731
    assert ALONE.gathered(encode, pairs=4) is encode
    parts = {"loss": torch.tensor(1.0)}
    assert ALONE.average(torch.nn.Identity(), parts) is parts
    assert (ALONE.any(True), ALONE.any(False), ALONE.is_first) == (True, False, True)


def together(told):
    """What each process of two does with the other: the first brings zeros, the second ones and an early end, and leaves."""

    def fails(error):
        def make():
            raise error

        with pytest.raises(type(error)) as caught:
            group.of_first(make)
        assert str(caught.value) == str(error)

    with pytest.MonkeyPatch.context() as patch:
        processes.alike(patch, told)
        with joined("cpu") as group:
            own = torch.full((2, 1), float(group.rank), requires_grad=True)  # two views of one pair
            assert torch.equal(group.own(group.whole(own)), own)
            embeddings = group.gathered(lambda rows: 3 * rows, pairs=1)(own)
            assert embeddings.flatten().tolist() == [0, 3, 0, 3]
            net = torch.nn.Sequential(torch.nn.BatchNorm1d(1), torch.nn.Linear(1, 1).double())
            net[0].running_mean.fill_(group.rank)
            for parameter in net.parameters():
                parameter.grad = torch.full_like(parameter, group.rank)
            assert group.average(net, {"loss": torch.tensor(group.rank)}) == {"loss": 0.5}
            assert {value.item() for value in (net[0].running_mean, *(p.grad for p in net.parameters()))} == {0.5}
            assert (group.any(group.rank == 1), group.any(False)) == (True, False)
            rate, numbers = group.of_first(lambda: (Rate(group.rank, 2), torch.full((3,), math.inf)))
            assert (rate.hits, numbers.isinf().all()) == (0, True)
            for error in (Inconclusive("too few"), deadline.OutOfTime()):  # of the first alone, but raised in both
                fails(error)
            group.check_same("00ff")
            with pytest.raises(UsageError, match="Process 1 of 2"):
                group.check_same(f"0{group.rank}")
            with deadline.within(0 if group.rank else 600), pytest.raises(deadline.OutOfTime):
                group.check_time()
            if group.is_first:
                embeddings.sum().backward()
                assert own.grad.tolist() == [[6], [6]]  # with the other's zeros averaged: that of the whole batch
                with pytest.raises(LostProcess):
                    group.any(True)


def test_two_processes_of_a_run_act_as_one():
    first, second = processes.told(2)
    other = multiprocessing.get_context("fork").Process(target=together, args=[second])
    other.start()
    together(first)
    other.join()
    assert other.exitcode == 0


# What torchrun tells.

WHOLE = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none"}
WHOLE |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def without(name):
    return {key: value for key, value in WHOLE.items() if key != name}


@pytest.mark.parametrize(
    ("variables", "launch", "left"),
    [
        (WHOLE, Launch(rank=1, size=4, local_rank=1, local_size=2), []),
        *((without(name), None, [*without(name)]) for name in WHOLE),
        *((WHOLE | {name: value}, None, [*WHOLE]) for name, value in [
            ("WORLD_SIZE", "abc"), ("LOCAL_WORLD_SIZE", "x"), ("RANK", "4"), ("RANK", "-1"),
            ("LOCAL_RANK", "2"), ("LOCAL_WORLD_SIZE", "8"),
        ]),
        (WHOLE | {"MASTER_ADDR": ""}, None, [*without("MASTER_ADDR")]),
        ({"WORLD_SIZE": "2"}, None, ["WORLD_SIZE"]),
        ({"WORLD_SIZE": "abc"}, None, ["WORLD_SIZE"]),
        ({"LOCAL_WORLD_SIZE": "x"}, None, ["LOCAL_WORLD_SIZE"]),
        ({}, None, []),
        ({"MASTER_PORT": "29500", "WORLD_SIZE": "1", "RANK": "0"}, None, []),  # a process that is alone
    ],
)  # fmt: skip
def test_what_torchrun_tells_is_taken_whole_or_not_at_all(variables, launch, left):
    assert launch_of(variables) == launch
    assert sorted(leftovers(variables)) == sorted(left)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(("seconds", "ends"), [(0.2, LostProcess), (2, KeyboardInterrupt)])
def test_the_wait_for_other_processes_ends_by_deadline_or_signal(monkeypatch, rank, seconds, ends):
    processes.alike(monkeypatch, processes.told(2)[rank])  # of a run whose other process never comes
    if ends is KeyboardInterrupt:
        threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
    with pytest.raises(ends), joined("cpu", meeting=timedelta(seconds=seconds)):
        pytest.fail("They have not met.")
