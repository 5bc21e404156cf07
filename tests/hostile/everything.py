"""Every hostile file there is, of all kinds: to write, and to ask clipclean about.

    python -m hostile.everything FOLDER

writes each into the folder, reads it in this one process, and prints a line of JSON about each: what was said, the exit
code, the seconds of the processor, by how many bytes the process grew at its peak, and files that appeared.
"""

import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from hostile import checkpoints, data_sets, settings

from clipclean import checkpoint, cli
from clipclean.errors import ClipcleanError

GROUPS = {"checkpoint": checkpoints.CASES, "data": data_sets.CASES, "settings": settings.CASES}


class Hostile(NamedTuple):
    """One hostile file: its group, its name within it, and where it was written."""

    group: str
    name: str
    path: Path


def written(folder: Path) -> list[Hostile]:
    """Write all of them, each into a folder of its own below this one."""
    made = []
    for group, cases in GROUPS.items():
        for number, (name, case) in enumerate(cases.items()):
            below = folder / f"{group}-{number:03}"
            below.mkdir(parents=True)
            path = place(below, group, name)
            case.write(path)
            made.append(Hostile(group, name, path))
    return made


def place(folder: Path, group: str, name: str) -> Path:
    """Where a case is written, under a name that programs which go by suffixes expect."""
    if group == "settings":
        return settings.place(folder, name)
    suffixes = {"safetensors": ".safetensors", "tar": ".tar", "picture": ".tar", "shards": "", "folder": ""}
    default = ".pt" if group == "checkpoint" else ""
    return folder / f"{'model' if group == 'checkpoint' else 'set'}{suffixes.get(name.partition(':')[0], default)}"


def read(hostile: Hostile) -> object:
    """What clipclean makes of it; of a set in words."""
    if hostile.group == "data":
        return data_sets.told(hostile.path)
    kind = hostile.name.partition(":")[0]
    return (settings.READERS[kind] if hostile.group == "settings" else checkpoint.read)(hostile.path)


def heard(hostile: Hostile) -> str:
    """clipclean's answer: ``exit N: why``, or what was left out of a set; raises where another file is accepted."""
    try:
        found = read(hostile)
    except ClipcleanError as error:
        return f"exit {error.exit_code}: {error}"
    assert isinstance(found, str), f"{hostile.path} is accepted"
    return found


def around(folder: Path, hostile: Hostile) -> set[Path]:
    """What lies in the folder itself, and below that of one file."""
    return {*folder.iterdir(), *(folder / hostile.path.relative_to(folder).parts[0]).rglob("*")}


def peak() -> int:
    """The most bytes that this process has held since its peak was forgotten; what libraries take differs by their versions."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def main() -> None:
    folder = Path(sys.argv[1])
    # Writing takes memory that reading would be charged with.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as writer:
        made = writer.submit(written, folder).result()
    before = {path for hostile in made for path in around(folder, hostile)}
    cli.main(["inspect", str(folder / "none")])  # what is loaded late is loaded now
    for hostile in made:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        held, start = peak(), time.process_time()
        answer = heard(hostile)
        seconds = time.process_time() - start
        code = cli.main(["inspect", str(hostile.path)]) if hostile.group == "checkpoint" else None
        grown = peak() - held
        appeared = sorted(str(path) for path in around(folder, hostile) - before)
        said = {"name": f"{hostile.group}: {hostile.name}", "answer": answer[:300], "code": code, "seconds": seconds}
        print(json.dumps(said | {"grown": grown, "appeared": appeared}))  # noqa: T201 # its output


if __name__ == "__main__":
    main()
