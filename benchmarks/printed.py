"""What the bundled runs print, kept in ``results/printed``, and whether the pages quote it.

    python benchmarks/printed.py --run [NAME ...]  # run the commands anew (all: four minutes), and keep what they print
    python benchmarks/printed.py --check           # name each quoted line that no run printed

A block of a page that quotes a run has ``<!-- printed: NAME -->`` above it. Its lines stand in what the run printed, in order; others may be left
out, and a first line ``$ command`` says what was run. Terminals are 100 columns wide. The last digits differ between processors, so the runs are
made again on one machine whenever the output changes, and all pages show that one.
"""

import fcntl
import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path

from common import RESULTS

ROOT = Path(__file__).parents[1]
PRINTED = RESULTS / "printed"
COLUMNS = 100
NAMES = "--classes classes.txt --templates templates.txt"
BASE = f"--base base.pt --data eval.tar --arch tiny.json {NAMES}"
# name: what is run in the folder of the bundled files. A later one reads what an earlier one wrote.
COMMANDS = {
    "demo-base": "demo --base --out demo",
    "audit": f"audit backdoored.pt --data eval.tar --arch tiny.json {NAMES}",
    "screen": "screen clean.tar --model backdoored.pt --arch tiny.json",
    "compare": f"compare finetune.pt {BASE}",
    "audit-base": f"audit finetune.pt {BASE} --effort quick",
    "audit-cleaned": f"audit demo --base base.pt --data eval.tar {NAMES} --effort quick",
}
BLOCK = re.compile(r"<!-- printed: ([\w-]+) -->\n\n```text\n(.*?)```", re.DOTALL)
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def run(name: str, folder: Path, /) -> str:
    """What a command prints on a terminal, and then what its messages say so far."""
    own, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    words = [sys.executable, "-m", "clipclean", *shlex.split(COMMANDS[name])]
    settings = os.environ | {"NO_COLOR": "1", "PYTHONPATH": str(ROOT), "CLIPCLEAN_STATE": str(folder / "state")}
    settings.pop("COLUMNS", None)
    with tempfile.TemporaryFile("w+") as messages:
        process = subprocess.Popen(words, cwd=folder, env=settings, stdout=terminal, stderr=messages)
        os.close(terminal)
        result = b"".join(chunks(own)).decode().replace("\r\n", "\n")
        if process.wait() not in {0, 1, 4}:
            messages.seek(0)
            raise SystemExit(f"{name} ended with {process.returncode}: {messages.read()}")
        messages.seek(0)
        return f"{result}\n{''.join(line for line in messages if line.startswith('So far'))}"


def chunks(terminal: int, /) -> Iterator[bytes]:
    """What a terminal gets, until nobody writes to it."""
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other end is closed
            return
        if not chunk:
            return
        yield chunk


def unpack(folder: Path, /) -> None:
    """The bundled files of both demos in one folder."""
    for option in ((), ("--base",)):
        part = folder / "part"
        command = [sys.executable, "-m", "clipclean", "demo", *option, "--unpack", str(part)]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        for file in part.iterdir():
            shutil.move(file, folder / file.name)
        part.rmdir()


def faults() -> list[str]:
    """Each quoted line that its run did not print after the line before it; where lines were wrapped does not count."""
    wrong = []
    for page in PAGES:
        text = page.read_text()
        blocks = BLOCK.findall(text)
        if len(blocks) != len(re.findall("^<!-- printed:", text, re.MULTILINE)):
            wrong.append(f"{page.name}: a marker stands above no block of text")
        for name, block in blocks:
            if name not in COMMANDS:
                wrong.append(f"{page.name}: there is no run {name}")
                continue
            rest = f" {' '.join((PRINTED / f'{name}.txt').read_text().split())} "
            for line in block.splitlines():
                words = " ".join(line.split())
                if not words or words.startswith("$ "):
                    continue
                _, quoted, after = rest.partition(f" {words} ")
                rest = f" {after}" if quoted else rest
                wrong += [] if quoted else [f"{page.name}: {name} does not print next: {line}"]
    return wrong


def main(words: list[str], /) -> int:
    if words[:1] == ["--run"]:
        PRINTED.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            unpack(Path(folder))
            for name in COMMANDS:
                if not words[1:] or name in words[1:]:
                    (PRINTED / f"{name}.txt").write_text(run(name, Path(folder)))
        return 0
    if words != ["--check"]:
        sys.stderr.write(__doc__ or "")
        return 2
    wrong = faults()
    sys.stdout.writelines(f"{line}\n" for line in wrong)
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
