"""A run leaves nothing outside its output, its state and its cache: the whole tree around it is compared."""

import hashlib
from pathlib import Path

import processes
import pytest
import tiny

COMMANDS = """
import sys
from clipclean import cli
for command in {commands!r}:
    sys.argv = ["clipclean", *command]
    print("code", cli.main(), command[0], flush=True)
    if command[0] == "recipes":  # what the program does before it imports torch is done by then
        import short
        short.run()
"""
OWN = ("out", "state", "cache")  # folders that a run may write


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    """All below a folder but its own places: kind, mode, size, time of change and digest by relative path."""
    found = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if name.split("/")[0] in OWN:
            continue
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        # a folder's change with what comes and goes
        times = (status.st_mtime_ns, status.st_size) if path.is_file() else ()
        found[name] = (status.st_mode, *times, content)
    return found


@pytest.fixture
def root(tmp_path):
    """Everything that a process can find: home, XDG folders, working folder, temporary folder, inputs."""
    for name in ("home", "work", "tmp", "config", "data", *OWN):
        (tmp_path / name).mkdir()
    (tmp_path / "home" / ".bashrc").write_text("export A=1\n")
    (tmp_path / "work" / "notes.txt").write_text("mine")
    return tmp_path


def run(root: Path, *commands: list[object]) -> str:
    """The commands in one process of their own, in ``work``."""
    places = {f"XDG_{place.upper()}_HOME": place for place in ("config", "data", "cache", "state")}
    places |= {"HOME": "home", "TMPDIR": "tmp", "CLIPCLEAN_STATE": "state/clipclean"}
    environment = {name: str(root / place) for name, place in places.items()}
    script = COMMANDS.format(commands=[[*map(str, command)] for command in commands])
    return processes.python("-B", "-c", script, cwd=root / "work", env=environment, timeout=500, check=True).stdout


@pytest.mark.slow
def test_a_run_writes_to_its_own_places_alone(root):
    job, out = tiny.job(root / "job"), root / "out"
    before = tree(root)
    printed = run(root, ["inspect", job.model], ["inspect", root / "gone.pt"], ["recipes", "list"], ["doctor"])
    assert ("code 0 inspect" in printed, "code 3 inspect" in printed) == (True, True)
    assert tree(root) == before
    assert list(out.iterdir()) == []
    options = ["--arch", job.arch, "--data", job.data, "--quiet"]
    printed = run(
        root,
        ["recipes", "list"],
        job.sanitize("--out", out / "clean"),
        job.audit("--data", job.data, "--no-search", "--quiet", "--report", f"json={out / 'audit.json'}"),
        ["export", job.model, "--out", out / "open_clip", "--format", "open_clip", *options],
        ["verify", out / "clean"],
        ["report", "convert", out / "audit.json", "--to", "html", "--out", out / "audit.html"],
        job.screen(),
        job.plant(out=str(out / "planted.pt")),
    )
    assert printed.count("code 0 ") + printed.count("code 4 ") == 8, printed[-2000:]
    assert tree(root) == before
    assert {path.name for path in (root / "state").iterdir()} <= {"clipclean"}
    assert {path.name for path in (root / "cache").iterdir()} <= {"clipclean"}
