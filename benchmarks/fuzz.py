"""Mutated files by the million through the readers of zips, pickles, safetensors and tars.

    nice -n 10 python benchmarks/fuzz.py --inputs 1000000 --out build/fuzz.json --write docs/scanners.md

Each input is an honest file or one of ``tests/hostile``, edited at random: bits and bytes, numbers that are borders
somewhere, pieces cut, doubled, moved or taken from another file, words of the format; half of the archives get their
checksums right again, since these would stop most edits at the door. An input follows from the seed, the reader and its
number alone: ``--only READER:NUMBER`` repeats one. The readers run in a child whose memory may grow by ``--memory`` MiB
and which has ``--seconds`` of the processor for each input; the parent kills and restarts one that stops answering. Expected: every input
is read or refused with a printable message, and no child dies, stands still or asks for more memory.
"""

import argparse
import json
import multiprocessing
import os
import platform
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import torch
from blocks import fill
from hostile import checkpoints, data_sets, seeds

from clipclean import checkpoint, data
from clipclean.data.sample import Unusable
from clipclean.errors import RefusedInput

LARGEST = 1 << 16  # bytes of an input: where it is refused matters, not how long it is
LIMITS = data.Limits(max_pixels=10_000, max_bytes=100_000, max_skipped_share=1.0, max_pairs=None)
BORDERS = sorted(
    {value + by for bits in (0, 7, 8, 15, 16, 31, 32, 63, 64) for value in (2**bits,) for by in (-1, 0, 1)}
)
PARTS = 3  # children that share the inputs of one reader
SILENT, STARTING = 120.0, 120.0  # seconds without an answer after which a child is killed, and what its start may add
ROW = "| {} | {:,} | {:,} | {:,} | {:,} | {:.2f} | {:.0f} |"


class Slow(BaseException):
    """One input took too long; no ``except Exception`` on the way may stop it."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5.0, help="processor time of one input")
    parser.add_argument("--memory", type=int, default=256, help="MiB by which a child may grow")
    parser.add_argument("--workers", type=int, default=1, help="children at the same time")
    parser.add_argument("--only", metavar="READER:NUMBER", help="repeat one input, without a child")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz.json"))
    parser.add_argument("--write", type=Path, help="a page with the markers of the block fuzz")
    o = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if o.only:
        reader, _, number = o.only.partition(":")
        print(tried(reader, edited(reader, o.seed, int(number)), Path(tempfile.mkdtemp())))
        return 0
    start = time.perf_counter()
    part = -(-o.inputs // (len(READERS) * PARTS))
    parts = [(reader, part * place, part * (place + 1)) for reader in READERS for place in range(PARTS)]
    with ThreadPoolExecutor(o.workers) as pool:
        rows = list(pool.map(lambda each: run(*each, o), parts))
    found = {reader: joined([row for row in rows if row["reader"] == reader]) for reader in READERS}
    told = {
        "inputs": sum(row["inputs"] for row in found.values()),
        "seconds": round(time.perf_counter() - start),
        "processor_seconds": round(sum(row["processor"] for row in found.values())),
        "seed": o.seed,
        "limit_seconds": o.seconds,
        "limit_memory_mib": o.memory,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "readers": found,
    }
    o.out.parent.mkdir(parents=True, exist_ok=True)
    o.out.write_text(json.dumps(told, indent=2))
    print(table(told))
    if o.write:
        fill(o.write, "fuzz", table(told))
    return 1 if any(row["failures"] for row in found.values()) else 0


# The parent.


def run(reader: str, begin: int, stop: int, o: argparse.Namespace) -> dict:
    """Some inputs of one reader, in children one after another; a child that dies is a failure of the input it had."""
    context = multiprocessing.get_context("fork")  # what is imported is shared
    progress = context.Array("d", 2, lock=False)  # the number of the input, and when it was begun
    numbers: Counter[str] = Counter()
    failures: list[str] = []
    slowest, memory, processor, count = 0.0, 0.0, 0.0, stop - begin
    while begin < stop:
        here, there = context.Pipe(duplex=False)
        progress[:] = (begin, time.time() + STARTING)
        child = context.Process(target=work, args=(reader, begin, stop, o, progress, there))
        child.start()
        there.close()
        report = awaited(here, child, progress)
        child.join()
        number = int(progress[0])
        if report is None:
            failures.append(f"{reader}:{number} ended the process ({child.exitcode})")
            begin = number + 1
            continue
        numbers.update(report["numbers"])
        failures += report["failures"]
        slowest, memory, begin = max(slowest, report["slowest"]), max(memory, report["memory"]), stop
        processor += report["processor"]
    for failure in failures:
        print(failure, flush=True)
    print(f"{reader}: {count:,} inputs, {dict(numbers)}, slowest {slowest:.2f} s, grew by {memory:.0f} MiB", flush=True)
    return {
        "reader": reader,
        "inputs": count,
        "read": numbers["read"],
        "refused": numbers["refused"],
        "failures": failures,
        "slowest": slowest,
        "memory": memory,
        "processor": processor,
    }


def joined(rows: Sequence[dict]) -> dict:
    """The parts of one reader together."""
    sums = {key: sum(row[key] for row in rows) for key in ("inputs", "read", "refused", "processor")}
    most = {key: max(row[key] for row in rows) for key in ("slowest", "memory")}
    return {**sums, **most, "failures": [failure for row in rows for failure in row["failures"]]}


def awaited(here: Connection, child: BaseProcess, progress: Sequence[float]) -> dict | None:
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
    os.chdir(folder)
    signal.signal(signal.SIGVTALRM, too_slow)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    tried(reader, seeds_of(reader)[0], folder)  # what is loaded late is loaded now
    before, limit = memory_of("VmRSS"), memory_of("VmSize") + o.memory * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    numbers: Counter[str] = Counter()
    failures: list[str] = []
    slowest = 0.0
    for number in range(begin, stop):
        start = time.process_time()
        progress[:] = (number, time.time())
        content = edited(reader, o.seed, number)
        signal.setitimer(signal.ITIMER_VIRTUAL, o.seconds)
        try:
            numbers[tried(reader, content, folder).partition(":")[0]] += 1
        except (Exception, Slow) as error:  # any is a finding
            failures.append(f"{reader}:{number} {type(error).__name__}: {str(error)[:200]!a}")
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        slowest = max(slowest, time.process_time() - start)
    grown = (memory_of("VmHWM") - before) / 2**20
    answer.send(
        {
            "numbers": numbers,
            "failures": failures[:100],
            "slowest": slowest,
            "memory": grown,
            "processor": time.process_time(),
        }
    )


def too_slow(number: int, frame: object) -> None:
    del number, frame
    raise Slow


def memory_of(field: str) -> int:
    """Bytes of this process that Linux counts under a field of its status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


# One input: read, or refused.


def tried(reader: str, content: bytes, folder: Path) -> str:
    """``read`` or ``refused: why``; anything else is raised."""
    place = folder / ("a.tar" if reader == "tar" else "model")
    place.write_bytes(content)
    try:
        (read_tar if reader == "tar" else read_checkpoint)(place)
    except RefusedInput as error:
        assert str(error).isprintable(), "the refusal cannot be printed"  # noqa: PT017 # no test: either way out is right
        return f"refused: {error}"
    assert {entry.name for entry in folder.iterdir()} == {place.name}, "a file appeared"
    return "read"


def read_checkpoint(place: Path) -> None:
    found = checkpoint.read(place)
    assert found.tensors, "nothing was read"
    for name, tensor in found.tensors.items():
        assert name.isprintable(), "a name cannot be printed"
        assert tensor.is_contiguous(), f"{name} is not contiguous"
        assert not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()), f"{name} is not finite"


def read_tar(place: Path) -> None:
    found = data.formats.find(place, data.sample.Wanted(), scratch=data.ImageCache(LIMITS).scratch)
    for entry in found.entries:
        assert (entry.key + entry.caption + (entry.label or "")).isprintable(), "a caption cannot be printed"
        if entry.image is not None:
            try:
                data.Image(entry.image, data.ImageCache(LIMITS)).decode()
            except Unusable:
                continue


# Edits.


def edited(reader: str, seed: int, number: int) -> bytes:
    """The input of this number."""
    rng = random.Random(f"{seed} {reader} {number}")
    pool = seeds_of(reader)
    content = bytearray(rng.choice(seeds.honest(reader) if rng.random() < 0.5 else pool))
    for _ in range(rng.choice((1, 1, 1, 1, 2, 2, 3, 6))):
        content = rng.choice(EDITS)(content, rng, pool, WORDS[reader])[:LARGEST]
    return FINISH[reader](bytes(content), rng)


Edit = Callable[[bytearray, random.Random, Sequence[bytes], Sequence[bytes]], bytearray]


def at(content: bytearray, rng: random.Random) -> int:
    return rng.randrange(len(content) + 1)


def piece(content: bytes | bytearray, rng: random.Random) -> bytes:
    start = at(bytearray(content), rng)
    return bytes(content[start : start + int(2 ** rng.uniform(0, 10))])


def flip(content: bytearray, rng: random.Random, pool: object, words: object) -> bytearray:
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return content


def byte(content: bytearray, rng: random.Random, pool: object, words: object) -> bytearray:
    if content:
        content[rng.randrange(len(content))] = rng.choice((0, 1, 0x20, 0x2E, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return content


def border(content: bytearray, rng: random.Random, pool: object, words: object) -> bytearray:
    """A number of 1 to 8 bytes that is the largest or smallest of some type, or text for one."""
    value, size = rng.choice(BORDERS), rng.choice((1, 2, 4, 8))
    raw = (value % 256**size).to_bytes(size, rng.choice(("little", "little", "big")))
    place = at(content, rng)
    content[place : place + size] = raw if rng.random() < 0.8 else str(value).encode()
    return content


def insert(content: bytearray, rng: random.Random, pool: object, words: object) -> bytearray:
    place = at(content, rng)
    content[place:place] = rng.randbytes(rng.randint(1, 16))
    return content


def delete(content: bytearray, rng: random.Random, pool: object, words: object) -> bytearray:
    place = at(content, rng)
    del content[place : place + int(2 ** rng.uniform(0, 8))]
    return content


def cut(content: bytearray, rng: random.Random, pool: object, words: object) -> bytearray:
    return content[: at(content, rng)]


def double(content: bytearray, rng: random.Random, pool: object, words: object) -> bytearray:
    place = at(content, rng)
    content[place:place] = piece(content, rng) * rng.choice((1, 1, 2, 50))
    return content


def splice(content: bytearray, rng: random.Random, pool: Sequence[bytes], words: object) -> bytearray:
    place, taken = at(content, rng), piece(rng.choice(pool), rng)
    content[place : place + rng.choice((0, len(taken)))] = taken
    return content


def word(content: bytearray, rng: random.Random, pool: object, words: Sequence[bytes]) -> bytearray:
    place, taken = at(content, rng), rng.choice(words)
    content[place : place + rng.choice((0, len(taken)))] = taken
    return content


def rename(content: bytearray, rng: random.Random, pool: object, words: Sequence[bytes]) -> bytearray:
    """Every occurrence of one word by another."""
    return content.replace(rng.choice(words), rng.choice(words))


EDITS: tuple[Edit, ...] = (flip, byte, border, insert, delete, cut, double, splice, word, word, rename)


def as_it_is(content: bytes, rng: random.Random) -> bytes:
    del rng
    return content


def archived(content: bytes, rng: random.Random) -> bytes:
    """A pickle in an archive whose checksums are right, with numbers beside it."""
    members = {"m/data.pkl": content, "m/data/0": checkpoints.NUMBERS}
    if b"__torch__" in content:
        members["m/constants.pkl"] = b"x"  # TorchScript
    return checkpoints.zipped(members, method=rng.choice((0, 0, 8)) if len(content) < 4096 else 0)


def checked(content: bytes, rng: random.Random) -> bytes:
    """Half of the zips get the CRC-32 of what lies behind each local header."""
    if rng.random() < 0.5:
        return content
    repaired, place = bytearray(content), 0
    while (place := repaired.find(checkpoints.LOCAL, place)) >= 0 and place + 30 <= len(repaired):
        stored, name, extra = struct.unpack_from("<L4x2H", repaired, place + 18)
        begin = place + 30 + name + extra
        crc = zlib.crc32(repaired[begin : begin + stored])
        named = bytes(repaired[place + 30 : place + 30 + name])
        struct.pack_into("<L", repaired, place + 14, crc)
        central = repaired.find(checkpoints.CENTRAL)
        while central >= 0 and central + 46 <= len(repaired):
            if bytes(repaired[central + 46 : central + 46 + name]) == named:
                struct.pack_into("<L", repaired, central + 16, crc)
            central = repaired.find(checkpoints.CENTRAL, central + 4)
        place += 4
    return bytes(repaired)


def measured(content: bytes, rng: random.Random) -> bytes:
    """Half of the safetensors state the length of their header again, up to its last brace."""
    if rng.random() < 0.5 or len(content) < 8:
        return content
    end = content.rfind(b"}") + 1
    return struct.pack("<Q", max(end - 8, 0)) + content[8:]


def summed(content: bytes, rng: random.Random) -> bytes:
    """Half of the tars have the checksum of each block that looks like a header right."""
    if rng.random() < 0.5:
        return content
    repaired = bytearray(content)
    for place in range(0, len(repaired) - 511, 512):
        block = repaired[place : place + 512]
        if block[257:262] == b"ustar":
            total = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
            repaired[place + 148 : place + 156] = b"%06o\0 " % total
    return bytes(repaired)


READERS = ("zip", "torchscript", "pickle", "legacy", "safetensors", "tar")
FINISH = {
    "zip": checked,
    "torchscript": checked,
    "pickle": archived,
    "legacy": as_it_is,
    "safetensors": measured,
    "tar": summed,
}
PICKLED = [checkpoints.text(word) for word in ("state_dict", "model", "storage", "cpu", "0", "weight", "module.a")]
PICKLED += [checkpoints.name("torch._utils", "_rebuild_tensor_v2"), checkpoints.name("collections", "OrderedDict")]
PICKLED += [checkpoints.name("torch", "FloatStorage"), checkpoints.name("__torch__", "M"), checkpoints.GOOD]
PICKLED += [checkpoints.storage(4), checkpoints.whole(2**40), b"(", b".", b"R", b"b", b"Q", b"\x81", b"t", b"u", b"s"]
PICKLED += [b"q\x00", b"h\x00", b"\x94", b"N", b"}", b"]", b")", b"e", b"a", b"\x85", b"\x8c", b"X", b"\x95", b"\x93"]
ZIPPED = [checkpoints.LOCAL, checkpoints.CENTRAL, checkpoints.END, b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08", b"FB"]
ZIPPED += [b"data.pkl", b"data/0", b"version", b"byteorder", b"constants.pkl", b"code/", b"../", b"/", b"\x08\x00"]
JSON = [b'"dtype"', b'"shape"', b'"data_offsets"', b'"F32"', b'"BF16"', b'"I64"', b'"BOOL"', b"[", b"]", b"{", b"}"]
JSON += [b",", b":", b"0", b"16", b"-1", b"1e9", b"null", b"true", b'"', b"\\u0000", b"__metadata__", b'"a"', b'"b"']
TARRED = [b"ustar\x0000", b"ustar  \0", b"0", b"1", b"2", b"3", b"5", b"6", b"7", b"g", b"x", b"L", b"K", b"S"]
TARRED += [b"../", b"/", b".jpg", b".txt", b".json", b".cls", b".pkl", b"0000644\0", b"00000000000", b"77777777777"]
TARRED += [
    b"\x80" + bytes(11),
    b"\xff" * 12,
    b"30 size=9223372036854775807\n",
    b"13 size=-512\n",
    b"\x1b[2J",
    bytes(512),
]
WORDS = {
    "zip": ZIPPED + PICKLED,
    "torchscript": ZIPPED + PICKLED,
    "pickle": PICKLED,
    "legacy": PICKLED,
    "safetensors": JSON,
    "tar": TARRED,
}
SEEDS: dict[str, list[bytes]] = {}


def seeds_of(reader: str) -> list[bytes]:
    """What is edited: honest files first, then the small hostile ones of this kind."""
    if reader not in SEEDS:
        SEEDS[reader] = [*seeds.honest(reader), *hostile(reader)]
    return SEEDS[reader]


def hostile(reader: str) -> list[bytes]:
    if reader == "pickle":
        return [checkpoints.pickled(body) for body, _ in checkpoints.CALLS.values()]
    cases = data_sets.CASES if reader == "tar" else checkpoints.CASES
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, case) in enumerate(cases.items()):
            place = Path(folder) / str(number)
            if name.startswith(f"{reader}: "):
                case.write(place)
                if place.is_file() and place.stat().st_size < LARGEST // 4:
                    found.append(place.read_bytes())
    return found


def table(told: dict) -> str:
    """The result for the page."""
    rows = [
        ROW.format(
            name, row["inputs"], row["read"], row["refused"], len(row["failures"]), row["slowest"], row["memory"]
        )
        for name, row in told["readers"].items()
    ]
    head = [
        "| reader | inputs | read | refused | crashes, hangs, too much memory | slowest, processor s | grew by, MiB |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    limits = f"at most {told['limit_seconds']:g} s and {told['limit_memory_mib']} MiB more for each input"
    ending = (
        f"{told['inputs']:,} inputs, seed {told['seed']}, {limits}; {told['processor_seconds'] / 60:.0f} minutes of one core. "
        f"Python {told['python']}, PyTorch {told['torch'].partition('+')[0]}."
    )
    return "\n".join([*head, *rows, "", ending])


if __name__ == "__main__":
    sys.exit(main())
