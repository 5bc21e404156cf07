"""What modelscan, picklescan and modelaudit say of the hostile files that clipclean's tests build.

    python -m venv build/scanners
    build/scanners/bin/python -m pip install modelscan==0.8.8 picklescan==1.0.5 modelaudit==0.2.54
    python benchmarks/scanners.py --bin build/scanners/bin --write docs/safety.md --table benchmarks/results/scanners.csv

Each scanner looks at every file, honest ones of every kind among them, in a process of its own with an hour and 16 GB and
no hint what to look for. Files that would keep a scanner waiting for ever (named pipes, links to
devices) are not given to it. ``flags`` is any issue of any severity but "info"; ``nothing`` also counts what it skipped,
since nothing is said of such a file either. Scanners look for code, and most of these files hold none: they attack by
size, or by showing two readers two different files. A scanner that flags none of those does not fail at what it is for.
"""

import argparse
import csv
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from blocks import fill
from hostile import checkpoints, data_sets, everything, seeds

from clipclean import checkpoint
from clipclean.errors import RefusedInput

SECONDS, MEMORY = 3600, 16 * 2**30
HONEST = {
    "a checkpoint of torch.save": (seeds.torch_bytes, "pt"),
    "one from before PyTorch 1.6": (lambda: seeds.honest("legacy")[0], "pt"),
    "a TorchScript archive": (seeds.script_bytes, "pt"),
    "a safetensors file": (seeds.safetensors_bytes, "safetensors"),
    "a WebDataset shard": (seeds.shard_bytes, "tar"),
    "a checkpoint by hand": (checkpoints.honest, "pt"),
}
KINDS = {
    "checkpoint: pickle": "pickles",
    "checkpoint: tensor": "descriptions of tensors",
    "checkpoint: zip": "zip archives",
    "checkpoint: torchscript": "TorchScript",
    "checkpoint: legacy": "pickles from before 1.6",
    "checkpoint: safetensors": "safetensors",
    "checkpoint: shards": "shards and their index",
    "checkpoint: f": "other files and folders",
    "data: tar": "tar shards",
    "data: picture": "images in a shard",
    "data: ": "tables and folders of images",
    "settings: ": "YAML, JSON and lists",
}
HEAD = ["kind", "files", "clipclean refuses or leaves out"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, required=True, help="where the scanners' commands are")
    parser.add_argument("--out", type=Path, default=Path("build/scanned"), help="folder for the files and the answers")
    parser.add_argument("--write", type=Path, help="a page with the markers of the block scanners")
    parser.add_argument("--table", type=Path, help="a CSV file for the answers, a row a file")
    o = parser.parse_args()
    folder = o.out.resolve() / "files"
    shutil.rmtree(folder, ignore_errors=True)
    honest = honest_files(folder)
    hostile = everything.written(folder)
    ours = {each.path: everything.heard(each) for each in hostile}
    names = {each.path: f"{each.group}: {each.name}" for each in hostile}
    withheld = [each.path for each in hostile if waits(each.path)]
    for path in withheld:
        shutil.rmtree(path.parent)
    given = [*honest, *(path for path in names if path not in withheld)]
    versions = {name: version(o.bin, name) for name in SCANNERS}
    with ThreadPoolExecutor() as pool:  # they are other processes, side by side
        work = {
            name: pool.submit(scan, o.bin.resolve(), given, folder.parent)
            for name, scan in SCANNERS.items()
            if versions[name]
        }
        flagged = {name: work[name].result() if name in work else None for name in SCANNERS}
    by_kind = summary(names, withheld, honest, flagged, versions)
    print(by_kind)
    if o.write:
        fill(o.write, "scanners", by_kind)
    if o.table:
        with o.table.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows(listing(names, ours, flagged))
    return 0


def honest_files(folder: Path) -> dict[Path, str]:
    """Files without harm, for what a scanner flags for nothing."""
    made = {}
    for number, (name, (content, suffix)) in enumerate(HONEST.items()):
        path = folder / f"honest-{number}" / f"model.{suffix}"
        path.parent.mkdir(parents=True)
        path.write_bytes(content())
        made[path] = name
    return made


def waits(path: Path) -> bool:
    """Whether opening what lies there could take for ever, or there is nothing to open."""
    inside = list(path.rglob("*")) if path.is_dir() else [path]
    return not path.exists() or any(not (part.is_file() or part.is_dir()) or part.is_symlink() for part in inside)


def version(place: Path, name: str) -> str | None:
    """The installed version, or None where it is not installed."""
    asked = [str(place / "python"), "-c", f"import importlib.metadata as m; print(m.version({name!r}))"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


# The scanners: each says "flags", "nothing" or "fails" of every path.


def modelscan(place: Path, paths: list[Path], out: Path) -> dict[Path, str]:
    """One call a file: a damaged archive ends the run over a folder. 3 is: nothing that it knows."""
    codes = called("modelscan", place, paths, out)
    return {path: {0: "nothing", 1: "flags", 3: "nothing"}.get(code, "fails") for path, code in codes.items()}


def picklescan(place: Path, paths: list[Path], out: Path) -> dict[Path, str]:
    """One call a file, since its exit code tells what failed."""
    codes = called("picklescan", place, paths, out)
    return {path: {0: "nothing", 1: "flags"}.get(code, "fails") for path, code in codes.items()}


# Runs in the scanners' environment: the command itself, file after file, for its start takes longest.
DRIVER = """
import importlib.metadata, json, sys
name, answers, *paths = sys.argv[1:]
command = next(e for e in importlib.metadata.entry_points(group="console_scripts") if e.name == name).load()
for path in paths:
    sys.argv = [name, "-p", path]
    try:
        code = command()
    except SystemExit as end:
        code = end.code
    except Exception as error:
        code = repr(error)
    with open(answers, "a") as stream:
        stream.write(json.dumps([path, code or 0]) + "\\n")
"""


def called(name: str, place: Path, paths: list[Path], out: Path) -> dict[Path, object]:
    """The exit code of a scanner's command for each file."""
    answers = out / f"{name}.jsonl"
    answers.unlink(missing_ok=True)
    run([place / "python", "-c", DRIVER, name, answers, *paths], out)
    codes = dict(map(json.loads, answers.read_text().splitlines()))
    return {path: codes.get(str(path), "no answer") for path in paths}


def modelaudit(place: Path, paths: list[Path], out: Path) -> dict[Path, str]:
    """One run over the folder: its start takes longest."""
    answer = out / "modelaudit.json"
    run([place / "modelaudit", "scan", "-f", "json", "-o", answer, out / "files"], out)
    issues = json.loads(answer.read_text())["issues"]
    said = {str(issue["location"]) for issue in issues if issue["severity"] in ("critical", "warning")}
    return {path: "flags" if is_said(path, said) else "nothing" for path in paths}


def is_said(path: Path, said: set[str]) -> bool:
    """Whether one of these locations is this file, or a part of it."""
    return any(place == str(path) or place.startswith((f"{path}:", f"{path}/")) for place in said)


SCANNERS: dict[str, Callable[[Path, list[Path], Path], dict[Path, str]]] = {
    "modelscan": modelscan,
    "picklescan": picklescan,
    "modelaudit": modelaudit,
}


def run(command: Iterable[object], out: Path) -> subprocess.CompletedProcess[str]:
    """A scanner at work, within the limits; modelaudit would report its use to its makers."""
    return subprocess.run(
        list(map(str, command)),
        cwd=out,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=SECONDS,
        env={**os.environ, "PROMPTFOO_DISABLE_TELEMETRY": "1", "PYTHONPATH": ""},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )


# The tables.


def summary(
    names: dict[Path, str],
    withheld: list[Path],
    honest: dict[Path, str],
    flagged: dict[str, dict[Path, str] | None],
    versions: dict[str, str | None],
) -> str:
    """One line a kind: how many files each program flags."""
    heads = [f"{name} {versions[name]} flags" if versions[name] else f"{name}: not installed" for name in flagged]
    rows = [HEAD + heads, ["---"] + ["--:"] * (2 + len(flagged))]
    given = {path: name for path, name in names.items() if path not in withheld}
    left = dict(given)
    groups = {}
    for prefix, kind in KINDS.items():
        groups[kind] = [path for path, name in left.items() if name.startswith(prefix)]
        left = {path: name for path, name in left.items() if path not in groups[kind]}
    assert not left
    for kind, paths in [*groups.items(), ("**all hostile files**", list(given))]:
        rows.append([kind, len(paths), len(paths), *(count(paths, found) for found in flagged.values())])
    rows.append(
        [
            "honest files",
            len(honest),
            sum(map(refuses, honest)),
            *(count(list(honest), found) for found in flagged.values()),
        ]
    )
    wrong = [
        f"{name} flags {', '.join(what for path, what in honest.items() if found[path] == 'flags')}"
        for name, found in flagged.items()
        if found and count(list(honest), found)
    ]
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    failed = [
        f"{name} {versions[name]} fails on {sum(said == 'fails' for said in found.values())}"
        for name, found in flagged.items()
        if found and "fails" in found.values()
    ]
    ending = f"{len(withheld)} more files, named pipes and links, were not given to the scanners."
    return "\n".join(
        [
            *lines,
            "",
            " ".join([ending, *(f"{each}." for each in failed), *(f"Of the honest files {each}." for each in wrong)]),
        ]
    )


def refuses(path: Path) -> bool:
    """Whether clipclean refuses an honest file."""
    if path.suffix == ".tar":
        return not data_sets.heard(path).startswith("kept")
    try:
        checkpoint.read(path)
    except RefusedInput:
        return True
    return False


def count(paths: list[Path], found: dict[Path, str] | None) -> int | str:
    return "–" if found is None else sum(found[path] == "flags" for path in paths)


def listing(
    names: dict[Path, str], ours: dict[Path, str], flagged: dict[str, dict[Path, str] | None]
) -> Iterator[list[str]]:
    """The heads, then a row a file."""
    yield ["file", "clipclean", *flagged]
    for path, name in names.items():
        yield [
            name,
            short(ours[path], path),
            *("–" if found is None else found.get(path, "not given") for found in flagged.values()),
        ]


def short(answer: str, path: Path) -> str:
    """The first words of an answer, without the folder of this run."""
    line = answer.splitlines()[0].replace(f"{path}: ", "").replace(f"{path.parent}/", "")
    return line if len(line) <= 120 else f"{line[:117]}…"


if __name__ == "__main__":
    sys.exit(main())
