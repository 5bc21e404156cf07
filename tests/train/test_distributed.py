import os
import signal
import subprocess
import sys
import time

import processes
import pytest
import torch

from clipclean import data
from clipclean.errors import UsageError
from clipclean.train.distributed import ALONE, Group, Launch, launch_of, leftovers


@pytest.mark.parametrize("size", [1, 2, 4])
def test_every_pair_of_a_step_is_read_by_one_process(size):
    plan = data.plan(50, batch_size=8, steps=9, seed=0)
    shares = [Group(rank, size).share(plan) for rank in range(size)]
    for step, (epoch, numbers) in enumerate(plan):
        assert [share[step][0] for share in shares] == [epoch] * size
        assert [number for share in shares for number in share[step][1]] == list(numbers)


def test_a_batch_that_cannot_be_shared_evenly_is_refused_and_alone_nothing_is_gathered():
    with pytest.raises(UsageError, match=r"64.*3.*train\.batch_size=63"):
        Group(0, 3).check(64)
    Group(0, 4).check(64)
    encode = lambda x: x  # noqa: E731
    assert ALONE.gathered(encode, pairs=4) is encode
    parts = {"loss": torch.tensor(1.0)}
    assert ALONE.average(torch.nn.Identity(), parts) is parts
    assert (ALONE.any(True), ALONE.any(False), ALONE.is_first) == (True, False, True)


# What torchrun tells.

WHOLE = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none"}
WHOLE |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def without(name):
    return {key: value for key, value in WHOLE.items() if key != name}


@pytest.mark.parametrize(
    ("told", "launch", "left"),
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
def test_what_torchrun_tells_is_taken_whole_or_ignored_and_named(told, launch, left):
    assert launch_of(told) == launch
    assert sorted(leftovers(told)) == sorted(left)


MEETING = """
import signal
from datetime import timedelta
from clipclean.train import distributed
signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the command line does
print("begun", flush=True)
with distributed.joined("cpu", meeting=timedelta(seconds={seconds})):
    print("met")
"""


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(("seconds", "told"), [(2, "LostProcess: "), (300, "KeyboardInterrupt\n")])
def test_a_process_that_waits_for_the_others_has_a_deadline_and_hears_a_signal(rank, seconds, told):
    command, pipe = [sys.executable, "-u", "-c", MEETING.format(seconds=seconds)], subprocess.PIPE
    own = os.environ | processes.told(2)[rank]  # of a run whose other process never comes
    process = subprocess.Popen(command, cwd=processes.ROOT, env=own, stdout=pipe, stderr=pipe, text=True)
    try:
        assert process.stdout.readline() == "begun\n"
        if seconds > 2:
            time.sleep(2)
            process.send_signal(signal.SIGTERM)
        shown, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert shown == ""
    assert told in errors
