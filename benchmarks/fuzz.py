"""Mutated files by the million through every reader of files from outside: ``make fuzz``.

    nice -n 19 python benchmarks/fuzz.py --inputs 10000000 --seconds 3600 --out build/fuzz.json --write benchmarks/results/fuzz.csv

Each input is an honest file or one of ``tests/hostile``, changed at random (``tests/attacks/edits.py``), for one of the readers of
``tests/attacks/readers.py``. An input follows from the seed, the reader and its number alone: ``--only READER:NUMBER`` repeats one.
The reader that is furthest behind its share has the next turn; each turn runs in a child whose memory may grow by ``--memory`` MiB and which has ``--limit`` seconds of the
processor for each input; the parent kills a child that stops answering, and goes on behind the input that it had. Expected: every
input is read or refused with a printable message, no file appears, and no child dies, stands still or asks for more memory. What is
read of "rebuild arguments", "storages", "safetensors headers" and "transformers folder" is loaded by torch, safetensors or
transformers too, in a process without rights (``tests/attacks/other_reader.py``): they give the same tensors, bit for bit, or refuse.

What has been reached is written after every turn, so that a run may be ended at any time; the same ``--out`` and seed go on from there.
Runs with other seeds, at the same time or on other machines, are added up by ``--add``; ``--inputs 0`` only adds up:

    python benchmarks/fuzz.py --inputs 0 --seed 16 --out build/16.json --add build/17.json build/18.json --write benchmarks/results/fuzz.csv
"""

import argparse
import json
import multiprocessing
import os
import platform
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import common
import torch
from attacks import readers
from attacks.readers import READERS

from clipclean.files import write_text

# Seconds of the clock after which a child is killed that says nothing, and what its start may add: a busy machine is slow.
SILENT, STARTING = 600.0, 120.0
SAME = ("seed", "limit_seconds", "limit_memory_mib", "python", "torch")  # of a run that is gone on with


class Slow(BaseException):
    """One input took too long; no ``except Exception`` on the way may stop it."""


@dataclass
class Tally:
    """What came of a reader's inputs."""

    inputs: int = 0
    read: int = 0
    refused: int = 0
    alike: int = 0  # that another library read as well, bit for bit as we did
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0  # seconds of the processor
    memory: float = 0.0  # MiB by which a child grew, at most
    processor: float = 0.0  # seconds

    def add(self, other: "Tally") -> None:
        for name in ("inputs", "read", "refused", "alike", "failures", "processor"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("slowest", "memory"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--inputs", type=int, default=10_000_000, help="inputs in all, those of an earlier call too")
    parser.add_argument("--seconds", type=float, default=3600.0, help="no new turn after so long")
    parser.add_argument("--turn", type=int, default=10_000, help="inputs of a reader in one child, times its share")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=5.0, help="processor seconds of one input")
    parser.add_argument("--memory", type=int, default=256, help="MiB by which a child may grow")
    parser.add_argument("--only", metavar="READER:NUMBER", help="repeat one input, without a child")
    parser.add_argument(
        "--readers", nargs="+", default=[*READERS], choices=[*READERS], metavar="READER", help="these only"
    )
    parser.add_argument("--out", type=Path, default=Path("build/fuzz.json"), help="the result, and where to go on from")
    parser.add_argument("--add", type=Path, nargs="+", default=[], metavar="FILE", help="results of other seeds")
    parser.add_argument("--write", type=Path, help="a CSV file for the table")
    o = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if o.only:
        reader, _, number = o.only.partition(":")
        print(readers.tried(reader, readers.made(reader, o.seed, int(number)), Path(tempfile.mkdtemp())))
        return 0
    o.out.parent.mkdir(parents=True, exist_ok=True)
    found, others = begun(o), [json.loads(path.read_text()) for path in o.add]
    if len({o.seed, *(other["seed"] for other in others)}) <= len(others):
        sys.exit("Two of these results have the same seed, and so the same inputs: they would be counted twice.")
    start, told = time.monotonic(), summary(found, o)
    while told["inputs"] < o.inputs and time.monotonic() - start < o.seconds:
        reader = min(o.readers, key=lambda name: found[name].inputs / READERS[name].share)
        done = found[reader].inputs
        found[reader].add(turn(reader, done, done + max(1, int(o.turn * READERS[reader].share)), o))
        told = summary(found, o)
        write_text(o.out, json.dumps(told, indent=2))
        print(f"{time.monotonic() - start:.0f} s: {told['inputs']:,} inputs, {told['failures']} failures", flush=True)
    whole = together([told, *others])
    print(common.markdown(table(whole)))
    if o.write:
        common.write(o.write, joined(table(whole), common.read(o.write) if o.write.exists() else []))
    return 1 if whole["failures"] else 0


def begun(o: argparse.Namespace) -> dict[str, Tally]:
    """What an earlier call with the same ``--out`` reached; nothing of each reader where there was none."""
    found = {reader: Tally() for reader in READERS}
    if not o.out.exists():
        return found
    told, now = json.loads(o.out.read_text()), summary(found, o)
    if other := [key for key in SAME if told[key] != now[key]]:
        sys.exit(f"{o.out} is of a run with another {', '.join(other)}. Move it away, or name another --out.")
    print(f"Going on after {told['inputs']:,} inputs.", flush=True)
    return found | {reader: Tally(**row) for reader, row in told["readers"].items() if reader in found}


# The parent.


def turn(reader: str, begin: int, stop: int, o: argparse.Namespace) -> Tally:
    """Some inputs of one reader, in children one after another; a child that dies is a failure of the input it had."""
    context = multiprocessing.get_context("fork")  # what is imported is shared
    progress = context.Array("d", 2, lock=False)  # the number of the input, and when it was begun
    whole = Tally()
    while begin < stop:
        here, there = context.Pipe(duplex=False)
        progress[:] = (begin, time.time() + STARTING)
        child = context.Process(target=work, args=(reader, begin, stop, o, progress, there))
        child.start()
        there.close()
        found = awaited(here, child, progress)
        child.join()
        number = int(progress[0])
        if found is None:
            found = Tally(number + 1 - begin, failures=[f"{reader}:{number} ended the process ({child.exitcode})"])
        whole.add(found)
        begin += found.inputs
    for failure in whole.failures:
        print(failure, flush=True)
    return whole


def awaited(here: Connection, child: BaseProcess, progress: Sequence[float]) -> Tally | None:
    """What the child reports at its end; None where it died, or was killed because it stood still."""
    while not here.poll(1.0):
        if time.time() - progress[1] > SILENT:
            child.kill()
            return None
    try:
        return here.recv()
    except EOFError:
        return None


# The child.


def work(reader: str, begin: int, stop: int, o: argparse.Namespace, progress: list, answer: Connection) -> None:
    """Inputs ``begin`` to ``stop``, each within the limits."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))  # in memory
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libjpeg writes there by itself
    signal.signal(signal.SIGVTALRM, too_slow)
    readers.tried(reader, readers.made(reader, o.seed, begin), folder)  # what is loaded late is loaded now
    alike = readers.oracle().alike
    before, most = memory_of("VmRSS"), memory_of("VmSize") + o.memory * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    tally, numbers = Tally(), Counter()
    for number in range(begin, stop):
        start = time.process_time()
        progress[:] = (number, time.time())
        signal.setitimer(signal.ITIMER_VIRTUAL, o.limit)
        try:
            numbers[readers.tried(reader, readers.made(reader, o.seed, number), folder).partition(":")[0]] += 1
        except (Exception, Slow) as error:  # any is a finding
            tally.failures.append(f"{reader}:{number} {type(error).__name__}: {str(error)[:200]!a}")
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        tally.inputs, tally.slowest = tally.inputs + 1, max(tally.slowest, time.process_time() - start)
        if number % 500 == 0:
            tally.failures += cleared(reader, number, folder)
    tally.read, tally.refused, tally.alike = numbers["read"], numbers["refused"], readers.oracle().alike - alike
    tally.memory = (memory_of("VmHWM") - before) / 2**20
    tally.processor = time.process_time()
    readers.oracle().close()
    shutil.rmtree(folder, ignore_errors=True)
    answer.send(tally)


def cleared(reader: str, number: int, folder: Path) -> list[str]:
    """Remove what unpacking left, and tell of files that nothing should have made."""
    ours = {READERS[reader].name, *READERS[reader].beside}
    foreign = []
    for path in folder.iterdir():
        if path.is_dir() and path.name.startswith("clipclean-"):
            shutil.rmtree(path)
        elif path.name not in ours:
            foreign.append(f"{reader}:{number} or shortly before: {path.name[:80]!a} appeared")
    return foreign


def too_slow(number: int, frame: object) -> None:
    raise Slow


def memory_of(name: str) -> int:
    """Bytes of this process that Linux counts under a field of its status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


# What is told.


def summary(found: dict[str, Tally], o: argparse.Namespace) -> dict:
    """The result as JSON."""
    return {
        "inputs": sum(tally.inputs for tally in found.values()),
        "failures": sum(len(tally.failures) for tally in found.values()),
        "processor_seconds": round(sum(tally.processor for tally in found.values())),
        "seed": o.seed,
        "limit_seconds": o.limit,
        "limit_memory_mib": o.memory,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "readers": {reader: asdict(tally) for reader, tally in found.items()},
    }


def together(results: Sequence[dict]) -> dict:
    """The results of several seeds, added up."""
    readers = {reader: Tally() for told in results for reader in told["readers"]}
    for told in results:
        for reader, row in told["readers"].items():
            readers[reader].add(Tally(**row))
    sums = {key: sum(told[key] for told in results) for key in ("inputs", "failures", "processor_seconds")}
    seeds = ", ".join(str(told["seed"]) for told in results if told["inputs"])
    return results[0] | sums | {"seed": seeds, "readers": {reader: asdict(tally) for reader, tally in readers.items()}}


def joined(rows: list[list[str]], earlier: list[list[str]]) -> list[list[str]]:
    """The rows of a table, with those of readers that an earlier one has alone; of each run the sentence below them."""
    head, *body = rows[: rows.index([])]
    names = {row[0] for row in body}
    older = [row for row in earlier if len(row) > 1 and row[0] not in {*names, head[0]}]
    is_wide = len(earlier[0]) == len(head) if earlier else True
    kept = [row if is_wide else [*row[:4], "", *row[4:]] for row in older]  # before files were read by two
    own = seeds_of(rows[-1][0])
    endings = [row for row in earlier if len(row) == 1 and not own & seeds_of(row[0])] if kept else []
    return [head, *kept, *body, [], *endings, rows[-1]]


def seeds_of(sentence: str) -> set[str]:
    """The seeds that the sentence below a table names."""
    found = re.search(r"seed ([\d, ]*\d)", sentence)
    return set(found[1].split(", ")) if found else set()


def table(told: dict) -> list[list[str]]:
    """The result as rows of a CSV file."""
    head = "reader|inputs|read|refused|read alike by another library|differences, crashes, hangs, too much memory|slowest, processor s|grew by, MiB"
    rows = [head.split("|")]
    for name, row in told["readers"].items():
        if not row["inputs"]:
            continue
        alike = f"{row['alike']:,}" if READERS[name].is_judged else ""
        counts = [f"{row[key]:,}" for key in ("inputs", "read", "refused")]
        rows.append(
            [name, *counts, alike, f"{len(row['failures']):,}", f"{row['slowest']:.2f}", f"{row['memory']:.0f}"]
        )
    limits = f"at most {told['limit_seconds']:g} s and {told['limit_memory_mib']} MiB more for each input"
    ending = (
        f"{told['inputs']:,} inputs, seed {told['seed']}, {limits}; {told['processor_seconds'] / 60:.0f} minutes of the processor. "
        f"Python {told['python']}, PyTorch {told['torch'].partition('+')[0]}."
    )
    return [*rows, [], [ending]]


if __name__ == "__main__":
    sys.exit(main())
