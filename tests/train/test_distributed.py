import os
import signal
import socket
import subprocess
import sys
import time

import processes
import pytest
import tiny
import torch
from processes import ROOT, ended

from clipclean import checkpoint, data
from clipclean.errors import UsageError
from clipclean.train.distributed import ALONE, Group, Launch, launch_of, leftovers

# One process of a run, or the only one: five steps of eight pairs on a tiny model; the first one writes the weights.
PROCESS = """
import os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, "tests")
import tiny
from clipclean import checkpoint, model, train
from clipclean.methods import losses
from clipclean.train import distributed, resume

out, stops, config = Path(sys.argv[1]), int(sys.argv[2]), getattr(tiny, sys.argv[3])
weights = tiny.state_dict(config)
found = model.resolve(weights, arch=None, config=None, script_quick_gelu=None).with_activation(False, "test")
clip = model.build(found, weights, device="cpu")
draw, side = torch.Generator().manual_seed(1), clip.architecture.preprocess.size
images, views = (torch.rand(24, 3, side, side, generator=draw) for _ in range(2))
captions = [f"the {word} number {n}" for n in range(12) for word in ("cat", "old dog")]
tokens = clip.tokens(captions)
plan = [(0, tuple(torch.randperm(24, generator=draw)[:8].tolist())) for _ in range(5)]

with distributed.joined("cpu") as group:
    shared = group.share(plan)
    micro = train.MicroBatches(clip.net, size=3, pairs=8 // group.size)
    def through(encode):
        return group.gathered(micro.over(encode), pairs=8 // group.size)
    def batches():
        for number, (_, numbers) in enumerate(shared):
            if number == stops and group.rank == 1:
                os._exit(9)  # as if it were killed
            rows = list(numbers)
            yield train.Batch(
                {"pixels": images[rows], "pixel_views": views[rows], "tokens": tokens[rows], "token_views": tokens[[row ^ 1 for row in rows]]},
                tuple(captions[row] for row in rows),
            )
    # The gradient of a key's bias is nothing but rounding; a small eps would turn its sign into a whole step.
    optimizer = train.adamw(clip.net, lr=1e-3, betas=(0.9, 0.999), eps=1e-3, weight_decay=0.1)
    steps = train.finetune(
        clip.net, batches(), first_step=0, grad_clip=1.0, optimizer=optimizer, learning_rate=lambda step: 1e-3,
        average=lambda parts: group.average(clip.net, parts),
        loss=losses.cleanclip(losses.Parts(through(clip.encode_images), through(clip.encode_tokens), clip.logit_scale, losses.Weights())),
    )
    losses, done = [], 0
    try:
        for step in steps:
            losses.append(train.losses_of([step])[0]["loss"])
            done = step.number + 1
    except distributed.LostProcess as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code)
    finally:
        state = resume.capture(clip.net, optimizer) | {"losses": torch.tensor(losses)}
        checkpoint.write_safetensors(out / f"{group.rank}.safetensors", state, metadata={})
    assert group.any(group.rank == 1) and not group.any(False) or group.size == 1
"""


def started(out, *, size, stops=99, config="TINY_VIT"):
    return processes.started(PROCESS, out, stops, config, size=size, cwd=ROOT)


def state(out, rank):
    return checkpoint.read(out / f"{rank}.safetensors").tensors


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    out = tmp_path_factory.mktemp("alone")
    ((code, told),) = ended(started(out, size=1))
    assert code == 0, told
    return state(out, 0)


@pytest.mark.slow
@pytest.mark.parametrize("config", ["TINY_VIT", "TINY_RESNET"])
def test_two_processes_hold_the_same_weights_and_those_of_one_with_the_whole_batch(alone, tmp_path, config):
    for code, told in ended(started(tmp_path, size=2, config=config)):
        assert code == 0, told
    first, second = state(tmp_path, 0), state(tmp_path, 1)
    assert all(torch.equal(values, second[name]) for name, values in first.items())
    assert len(first["losses"]) == 5
    if config == "TINY_RESNET":
        return  # one process normalises by the whole batch
    torch.testing.assert_close(first["losses"], alone["losses"], atol=1e-5, rtol=0)
    start = tiny.state_dict(tiny.TINY_VIT)
    for name, values in alone.items():
        if name.startswith("net."):
            torch.testing.assert_close(first[name], values, atol=1e-5, rtol=0, msg=name)
    moved = max(float((alone[f"net.{name}"] - values).abs().max()) for name, values in start.items())
    assert moved > 1e-3  # five steps at 1e-3: the equality above is not that of weights that stood still


@pytest.mark.slow
def test_a_dead_process_ends_the_other_which_keeps_the_last_whole_step(alone, tmp_path):
    (code, told), (killed, _) = ended(started(tmp_path, size=2, stops=3))
    assert killed == 9
    assert code == 5
    assert "Process 0 of 2" in told
    left = state(tmp_path, 0)
    assert len(left["losses"]) == 3
    assert left["optimizer.logit_scale.step"] == 3
    torch.testing.assert_close(left["losses"], alone["losses"][:3], atol=1e-5, rtol=0)


# What one process can tell.


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

WHOLE = {
    "RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_RUN_ID": "none",
}


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


def whole_set(rank):
    """All that torchrun tells a process, of a run whose other process never comes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return (
        kept
        | WHOLE
        | {"WORLD_SIZE": "2"}
        | {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    )


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
    command, pipe = [sys.executable, "-c", MEETING.format(seconds=seconds)], subprocess.PIPE
    process = subprocess.Popen(command, env=whole_set(rank), stdout=pipe, stderr=pipe, text=True)
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
