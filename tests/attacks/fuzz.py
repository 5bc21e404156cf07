"""Mutated files for every reader of files from outside: ``python -m attacks.fuzz SECONDS [SEED]``, from the folder ``tests``; ``make fuzz``.

Each input is an honest file, changed at random: bytes, lengths, words of the format, parts of other files. A reader takes it or refuses
it in our own words; anything else is a problem, and so is one that takes longer than five seconds.
"""

import contextlib
import io
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import tiny
import torch

from clipclean import checkpoint, data, report, untrusted
from clipclean.config import policy, recipe
from clipclean.data import formats, image
from clipclean.data.sample import Wanted
from clipclean.errors import ClipcleanError
from clipclean.export import checksums, provenance
from clipclean.model import architecture

SLOW = 5.0  # seconds
WORDS = (
    b'"', b"{", b"}", b"[", b"]", b":", b",", b"\n", b"\0", b"\xff", b"NaN", b"-Infinity", b"1e999", b"9" * 400, b"null", b"true", b"&a",
    b"*a", b"!!python/object", b"<<:", b"- ", b"\t", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\x1b[31m", b"\xe2\x80\xae", b"../", b"/dev/zero",
    b"http://x/", b"\xff\xda", b"IDAT", b"RIFF", b"\x80\x02", b"PK\x03\x04", b"__metadata__", b'"a":1,"a":2,', b"[" * 200, b"{}" * 50,
)  # fmt: skip


@dataclass
class Tally:
    """Inputs by reader: how many, how many were taken, and what went wrong."""

    tried: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Target:
    """A reader, the name of the file that it is given, and honest contents."""

    name: str
    read: Callable[[Path], object]
    honest: tuple[bytes, ...]


def targets(folder: Path, /) -> list[Target]:
    """Every kind of file from outside."""
    folder.mkdir()
    state = {name: torch.ones(2, 2) for name in ("visual.proj", "text_projection", "logit_scale")}
    torch.save(state, folder / "m.pt")
    torch.save(state, folder / "old.pt", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state, folder / "m.safetensors", {"format": "pt"})
    for name in ("a.jpg", "a.png", "a.webp"):
        tiny.picture(1, side=12).save(folder / name)
    tiny.picture(2, side=40).save(folder / "b.jpg", progressive=True)

    def table(path: Path) -> object:
        return formats.find(path, Wanted(), scratch=lambda: folder)

    def pixels(path: Path) -> object:
        content = untrusted.read(path, limit=10**6)
        image.check(content, max_pixels=10**6)
        return image.decoded(content, max_pixels=10**6, enough=None)

    def reports(path: Path) -> object:
        found = report.read(path)
        return [make(found) for make in report.FORMATS.values()]

    root = Path(__file__).parent.parent.parent
    csv = b'filepath,title\na.jpg,a red square\na.png,"a blue, circle"\n'
    jsonl = b'{"file_name": "a.jpg", "text": "a red square"}\n{"file_name": "a.png", "text": "b", "label": 3}\n'
    recipes = tuple(path.read_bytes() for path in sorted((root / "recipes").glob("*.yaml"))[:3])
    policies = (b"version: 1\nname: mine\nthresholds:\n  max_excess: 0.1\nseverities:\n  CC030: off\n",)
    config = b'{"model_cfg": {"embed_dim": 8, "vision_cfg": {"layers": 1, "width": 64, "image_size": 16, "patch_size": 8}, "text_cfg": {"width": 8}}}'
    return [
        Target("table.csv", table, (csv, csv.replace(b",", b"\t"))),
        Target("table.jsonl", table, (jsonl,)),
        Target("classes.txt", data.read_classes, (b"dog\ncat\n# no\nred fox\n",)),
        Target("templates.txt", data.read_templates, (b"a {}.\na photo of a {c}.\n",)),
        Target("recipe.yaml", lambda path: recipe.load(str(path)), recipes),
        Target("policy.yaml", policy.load, policies),
        Target("arch.json", lambda path: architecture.resolve(state, arch=str(path), config=None, script_quick_gelu=None), (config,)),
        Target("SHA256SUMS", lambda path: checksums.parse(untrusted.read(path, limit=2**20)), (b"0" * 64 + b"  a/b.json\n",)),
        Target("provenance.json", lambda path: provenance.parse(untrusted.loads(untrusted.read(path, limit=2**20), "it", limit=2**20)), (b'{"command": "sanitize", "outputs": {}}',)),
        Target("report.json", reports, tuple(path.read_bytes() for path in sorted(folder.parent.glob("report*.json")))),
        Target("m.safetensors", checkpoint.read, ((folder / "m.safetensors").read_bytes(),)),
        Target("m.pt", checkpoint.read, ((folder / "m.pt").read_bytes(), (folder / "old.pt").read_bytes())),
        Target("a.img", pixels, tuple((folder / name).read_bytes() for name in ("a.jpg", "b.jpg", "a.png", "a.webp"))),
    ]  # fmt: skip


def mutated(draw: random.Random, honest: tuple[bytes, ...], /) -> bytes:
    """One of the contents after one to four changes."""
    content = bytearray(draw.choice(honest))
    for _ in range(draw.choice((1, 1, 2, 4))):
        at, length = draw.randrange(len(content) + 1), draw.choice((1, 1, 2, 8, 64))
        change = draw.randrange(7)
        if change == 0 and content:
            content[at - 1] ^= 1 << draw.randrange(8)
        elif change == 1:
            content[at:at] = draw.choice(WORDS)
        elif change == 2:
            content[at : at + length] = draw.choice(WORDS)
        elif change == 3:
            del content[at : at + length]
        elif change == 4:
            content[at:at] = content[at : at + length] * draw.choice((1, 2, 50))
        elif change == 5:
            content[at : at + length] = draw.randbytes(length)
        else:
            other = draw.choice(honest)
            start = draw.randrange(len(other) + 1)
            content[at:] = other[start:]
    return bytes(content)


def fuzz(folder: Path, seconds: float, /, *, seed: int, only: str = "") -> Tally:
    """Give mutated files to the readers in turn, for so long."""
    draw, tally, until = random.Random(seed), Tally(), time.monotonic() + seconds
    chosen = [target for target in targets(folder / "honest") if only in target.name and target.honest]
    while time.monotonic() < until:
        for target in chosen:
            content, path = mutated(draw, target.honest), folder / "honest" / target.name
            path.write_bytes(content)
            started = time.monotonic()
            tally.tried[target.name] += 1
            try:
                with contextlib.redirect_stderr(io.StringIO()):
                    target.read(path)
                tally.taken[target.name] += 1
            except ClipcleanError:
                pass
            except Exception as error:  # whatever it is: that is what is looked for
                tally.problems.append(f"{target.name}: {type(error).__name__}: {str(error)[:100]}: {content[:80]!r}")
            if time.monotonic() - started > SLOW:
                tally.problems.append(f"{target.name}: {time.monotonic() - started:.0f} s: {content[:80]!r}")
    return tally


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        from report import samples

        for number, made in enumerate((samples.failed(), samples.passed())):
            (Path(scratch) / f"report{number}.json").write_text(json.dumps(made))
        found = fuzz(Path(scratch), float(sys.argv[1]), seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    for name, count in found.tried.items():
        print(f"{name:18} {count:9,} inputs, {found.taken[name]:8,} taken")  # noqa: T201
    print(f"{found.tried.total():,} inputs, {len(found.problems)} problems")  # noqa: T201
    print("\n".join(found.problems[:20]))  # noqa: T201
    sys.exit(1 if found.problems else 0)
