"""Several processes that work as one, as torchrun starts them: shares of each batch, one gradient."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from threading import Thread
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from clipclean import deadline
from clipclean.errors import ClipcleanError, ResourceError, UsageError
from clipclean.train.memory import Encode

Result = TypeVar("Result")

MEETING_TIME = timedelta(minutes=5)  # for all processes to come; torchrun starts them together
LISTENING_SECONDS = 0.2  # seconds between two looks whether a signal has come
# The first process measures for long while the others wait; a dead one is seen at once.
COLLECTIVE_TIMEOUT = timedelta(hours=6)
RANK_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
MEETING_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")  # that torchrun sets
BUCKET_NUMBERS = 2**23  # numbers averaged at a time: 32 MB, beyond which a link is not used better


class LostProcess(ResourceError):
    """Another process of the run cannot be reached any more; exit 5."""


@dataclass(frozen=True)
class Group:
    """The processes of a run, and which of them this is."""

    rank: int  # 0 for the one that writes and prints
    size: int  # how many there are

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def check(self, batch_size: int, /, *, name: str = "train.batch_size") -> None:
        """Refuse batches that cannot be shared out evenly; ``name`` is their setting. Raises UsageError."""
        if batch_size % self.size:
            near = max(self.size, batch_size // self.size * self.size)
            raise UsageError(
                f"{name} is {batch_size}, which {self.size} processes cannot share evenly. "
                f"Take a multiple of {self.size}: --set {name}={near}."
            )

    def share(self, plan: Sequence[tuple[int, Sequence[int]]], /) -> list[tuple[int, Sequence[int]]]:
        """This process's part of each batch of a plan; the parts of all, in their order, are the plan."""
        return [(epoch, numbers[self._part(len(numbers))]) for epoch, numbers in plan]

    def _part(self, count: int) -> slice:
        length = count // self.size
        return slice(self.rank * length, (self.rank + 1) * length)

    def whole(self, own: Tensor, /) -> Tensor:
        """A whole batch (B, ...) of this process's rows (b, ...), which also stand in the place of those of the others.

        What draws for every row of a batch then draws as in one process; ``own`` takes the rows of this process out again.
        """
        if self.size == 1:
            return own
        return own.repeat(self.size, *(1 for _ in own.shape[1:]))

    def own(self, batch: Tensor, /) -> Tensor:
        """The rows of this process of a whole batch (B, ...)."""
        return batch if self.size == 1 else batch[self._part(len(batch))]

    def gathered(self, encode: Encode, /, *, pairs: int) -> Encode:
        """``encode`` of this process's views, with those of the others, in the order of the whole batch.

        Args:
            encode: inputs (V * b, ...), V views of b pairs -> embeddings (V * b, D).
            pairs: b, the pairs of this process in a batch.
        """
        if self.size == 1:
            return encode

        def encoded(inputs: Tensor) -> Tensor:
            embeddings = encode(inputs)
            own = embeddings.view(-1, pairs, embeddings.shape[-1])  # (V, b, D)
            gather: Any = _Gather.apply  # some versions of torch leave it unannotated
            gathered: Tensor = gather(own, self)
            return gathered.flatten(0, 1)  # (V * B, D)

        return encoded

    def average(self, net: nn.Module, parts: dict[str, Tensor], /) -> dict[str, Tensor]:
        """Average gradients and running statistics over the processes, in place, and return averaged losses."""
        if self.size == 1:
            return parts
        gradients = [p.grad for p in net.parameters() if p.grad is not None]
        # Each process normalised by its own rows: averaged, the statistics are again the same everywhere.
        statistics = [b for b in net.buffers() if b.is_floating_point()]
        losses = torch.stack([value.float() for value in parts.values()])
        # In buckets: a message for each of hundreds of tensors would cost more than their bytes.
        for bucket in _buckets([*gradients, *statistics, losses]):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            with _reaching(self):
                dist.all_reduce(flat)
            flat /= self.size
            for tensor, part in zip(bucket, torch.split(flat, [t.numel() for t in bucket]), strict=True):
                tensor.copy_(part.view(tensor.shape))
        return dict(zip(parts, losses.unbind(), strict=True))

    def any(self, flag: bool, /) -> bool:
        """Whether the flag is up in one of the processes; all get the same answer."""
        if self.size == 1:
            return flag
        flags = torch.tensor([flag], dtype=torch.uint8)
        with _reaching(self):
            dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        return bool(flags)

    def of_first(self, make: Callable[[], Result], /) -> Result:
        """The value of the first process, in all of them; the others wait for it. Its tensors should be on the CPU.

        Raises:
            ClipcleanError, OutOfTime: in all of them, if the first raised it.
        """
        if self.size == 1:
            return make()
        message: list[Any] = [None, None]  # the value, or what was raised
        if self.is_first:
            try:
                message[0] = make()
            except (ClipcleanError, deadline.OutOfTime) as error:
                message[1] = error  # raised here alone, it would leave the others waiting
        with _reaching(self):
            dist.broadcast_object_list(message, src=0, device=torch.device("cpu"))
        value, fault = message
        if fault is not None:
            raise fault
        result: Result = value
        return result

    def check_time(self) -> None:
        """Raise OutOfTime in all processes where time is over in one of them; all must have a deadline, or none."""
        if deadline.is_set() and self.any(deadline.is_over()):
            raise deadline.OutOfTime

    def check_same(self, digest: str, /) -> None:
        """Raise UsageError unless all processes bring the same digest."""
        if self.size == 1:
            return
        digests = [""] * self.size
        with _reaching(self):
            dist.all_gather_object(digests, digest)
        if ranks := [str(rank) for rank, other in enumerate(digests) if other != digests[0]]:
            raise UsageError(
                f"Process {', '.join(ranks)} of {self.size} does not work on what process 0 works on: model, data, recipe "
                "or versions differ. Give all of them the same command and the same files."
            )


ALONE = Group(0, 1)


@contextlib.contextmanager
def joined(device: str, /, *, meeting: timedelta = MEETING_TIME) -> Iterator[Group]:
    """The processes that torchrun started for this run, or this one alone.

    Args:
        device: where this one computes.
        meeting: how long it waits for the others.

    Raises:
        LostProcess: the others do not come.
    """
    launch = launch_of(os.environ)
    if launch is None or launch.size == 1:
        yield ALONE
        return
    group = Group(launch.rank, launch.size)
    if device != "cpu":
        torch.cuda.set_device(device)
    with _reaching(group):
        store, rank, size = _wait_in_thread(
            lambda: next(rendezvous("env://", launch.rank, launch.size, timeout=meeting))
        )
        backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=COLLECTIVE_TIMEOUT)
    try:
        yield group
    finally:
        dist.destroy_process_group()


def _wait_in_thread(wait: Callable[[], Result]) -> Result:
    """The result or exception of a function that waits in C++, where Python hears no signal: another thread waits in its place."""
    end: Future[Result] = Future()

    def run() -> None:
        try:
            end.set_result(wait())
        except BaseException as error:  # for the thread that listens
            end.set_exception(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LISTENING_SECONDS)
    return end.result()


class _Gather(torch.autograd.Function):
    """Views (V, b, D) of this process -> of all (V, B, D); gradients come back for its own.

    Every process computes the same loss of all embeddings, and gradients are then averaged: the factor makes that
    average the sum of what the processes contribute, which is the gradient of one process with the whole batch.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, group: Group) -> Tensor:  # torch's own signature
        ctx.group, ctx.pairs = group, own.shape[1]
        parts = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(group.size)]
        with _reaching(group):
            dist.all_gather(parts, own.contiguous())
        return torch.cat(parts, dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        first = ctx.group.rank * ctx.pairs
        return ctx.group.size * gradients[0][:, first : first + ctx.pairs], None


@contextlib.contextmanager
def _reaching(group: Group) -> Iterator[None]:
    """Turn what torch raises for a closed connection, a timeout or a failure of NCCL into LostProcess."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcess(
            f"Process {group.rank} of {group.size} cannot reach the others: one of them has ended, or the network has "
            f"({str(error).splitlines()[0][:200]}). See the messages of the others, then give the same command again."
        ) from error


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in their order, a few together, all of one type."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and (
            sum(t.numel() for t in bucket) + tensor.numel() > BUCKET_NUMBERS or tensor.dtype != bucket[0].dtype
        ):
            yield bucket
            bucket = []
        bucket.append(tensor)
    yield bucket


@dataclass(frozen=True)
class Launch:
    """The settings that torchrun gives a process."""

    rank: int
    size: int
    local_rank: int
    local_size: int


def launch_of(environment: Mapping[str, str], /) -> Launch | None:
    """The settings from torchrun; None if torchrun did not start this process.

    A scheduler or an earlier shell may have left some of these variables. They count only if all of torchrun's are set and
    agree: otherwise the process would wait for others that never come.
    """
    try:
        rank, size, local_rank, local_size = (int(environment[name]) for name in RANK_VARIABLES)
    except (KeyError, ValueError):
        return None
    if not (
        0 <= rank < size
        and 0 <= local_rank < local_size <= size
        and all(environment.get(name) for name in MEETING_VARIABLES)
    ):
        return None
    return Launch(rank, size, local_rank, local_size)


def leftovers(environment: Mapping[str, str], /) -> list[str]:
    """Variables of torchrun that are ignored, since not all of them are there; none where they ask for nothing."""
    present = [name for name in (*RANK_VARIABLES, *MEETING_VARIABLES) if environment.get(name)]
    asks = any(environment.get(name, "1") != "1" for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    return present if asks and launch_of(environment) is None else []
