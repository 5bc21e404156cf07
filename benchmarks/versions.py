"""Whether the wheel works with the lowest and the highest versions that pyproject.toml admits.

    make versions                                        # both ends, and the table of docs/inputs.md
    build/tools/bin/python benchmarks/versions.py lowest --python python3.11 --out build/versions

Builds wheel and sdist, checks both by ``twine check --strict``, and installs the wheel into a fresh environment: by
``pip install --constraint``, where ``lowest`` pins each dependency to the first version of its range, and ``highest`` pins none. What the
dependencies themselves depend on, pip chooses. In that environment it runs the demo, an audit that must fail, a cleaning with both
exports, an export of its own and ``verify``, as a user does. The environment is deleted at the end; PyTorch alone is several gigabytes.
"""

import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import common

ROOT = Path(__file__).parent.parent
SHOWN = (
    *("torch", "torchvision", "open_clip_torch", "numpy", "onnx", "onnxruntime", "onnxscript"),
    *("pyarrow", "scikit-learn", "pydantic"),
)
FILES = ("--classes", "files/classes.txt", "--templates", "files/templates.txt", "--arch", "files/tiny.json")
# What a user does with it, and the exit code that is right.
COMMANDS = {
    "doctor": (["doctor"], 0),
    "demo": (["demo", "--out", "demo"], 0),
    "demo's files": (["demo", "--unpack", "files"], 0),
    "audit": (["audit", "files/backdoored.pt", "--effort", "quick", "--report", "report.sarif", *FILES], 1),
    "sanitize, both exports": (
        ["sanitize", "files/backdoored.pt", "-d", "files/clean.tar", "-o", "cleaned", "-f", "open_clip", "-f", "onnx", "--epochs", "1",
         "--no-panel", "--max-accuracy-loss", "0.5", *FILES],
        4,
    ),
    "export": (["export", "cleaned", "-f", "onnx", "--fp16", "-o", "halved"], 0),
    "verify": (["verify", "cleaned"], 0),
}  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("end", choices=["lowest", "highest"], help="end of the ranges")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the fresh environment")
    parser.add_argument("--out", type=Path, default=Path("build/versions"), help="folder for environments and results")
    parser.add_argument("--write", type=Path, help="a page with the markers of the block versions")
    o = parser.parse_args()
    o.out = o.out.resolve()
    o.out.mkdir(parents=True, exist_ok=True)
    result = tried(o.end, o.python, o.out)
    (o.out / f"{o.end}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    if o.write:
        results = [o.out / f"{end}.json" for end in ("lowest", "highest")]
        found = [json.loads(path.read_text(encoding="utf-8")) for path in results if path.exists()]
        common.keep(o.write, "versions", table(found))


def lowest() -> list[str]:
    """The first version of each range of a plain install, as constraints."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    return [re.sub(r"^([\w.-]+)>=([\d.]+).*$", r"\1==\2", each) for each in listed]


def install(end: str, python: str, out: Path, place: Path) -> None:
    """Wheel and sdist, both checked, and the wheel in a fresh environment."""
    dist = out / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    run([sys.executable, "-m", "build", "--outdir", str(dist), str(ROOT)], out / "build.log")
    run([sys.executable, "-m", "twine", "check", "--strict", *map(str, sorted(dist.iterdir()))], out / "twine.log")
    shutil.rmtree(place, ignore_errors=True)
    run([python, "-m", "venv", str(place)], out / f"{end}-venv.log")
    constraints = out / f"{end}.txt"
    constraints.write_text("".join(f"{line}\n" for line in (lowest() if end == "lowest" else [])), encoding="utf-8")
    (wheel,) = dist.glob("*.whl")
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--no-compile"]
    run([*pip, "--constraint", str(constraints), str(wheel)], out / f"{end}-install.log")


def tried(end: str, python: str, out: Path) -> dict[str, object]:
    """Build, check, install and run; what was installed and how long each command took."""
    dist, place, work = out / "dist", out / f"{end}-environment", out / f"{end}-work"
    own = place / "bin" / "python"
    install(end, python, out, place)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    (wheel,) = dist.glob("*.whl")
    run([str(own), "-m", "pip", "check"], out / f"{end}-check.log")
    frozen = json.loads(said([own, "-m", "pip", "list", "--format", "json"]))
    installed = {each["name"].lower().replace("_", "-"): each["version"] for each in frozen}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLIPCLEAN_", "PYTHONPATH"))}
    environment = kept | {"HOME": str(work / "home"), "HF_HUB_OFFLINE": "1"}
    took, program = {}, place / "bin" / "clipclean"
    for name, (words, right) in COMMANDS.items():
        begun = time.monotonic()
        with (work / "log.txt").open("a", encoding="utf-8") as log:
            log.write(f"\n$ clipclean {' '.join(words)}\n")
            log.flush()
            done = subprocess.run([program, *words], cwd=work, env=environment, stdout=log, stderr=log, check=False)
        if done.returncode != right:
            told = f"exit code {done.returncode} and not {right}; see {work / 'log.txt'}"
            raise SystemExit(f"clipclean {' '.join(words)}: {told}")
        took[name] = round(time.monotonic() - begun, 1)
    result = {
        "end": end, "date": datetime.datetime.now(datetime.UTC).date().isoformat(), "wheel": wheel.name,
        "python": said([own, "-c", "import platform; print(platform.python_version())"]).strip(),
        "installed": installed, "seconds": took, "warnings": warned(work / "log.txt"),
    }  # fmt: skip
    shutil.rmtree(place)
    return result


def said(command: list[str | Path]) -> str:
    """What a command that succeeds prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def warned(log: Path) -> list[str]:
    """Lines of a library that warns; clipclean has none of its own on these commands."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return sorted({line for line in lines if re.search(r"\b\w*Warning\b|Traceback", line)})


def run(command: list[str], log: Path) -> None:
    """Run a command with its output in a file, which is told if it fails."""
    with log.open("w", encoding="utf-8") as output:
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        raise SystemExit(f"{' '.join(command)}: exit code {code}\n{log.read_text(encoding='utf-8')[-3000:]}")


def table(found: list[dict[str, object]]) -> list[list[object]]:
    """The page's table: an end of the ranges a column."""
    return [
        ["", *(each["end"] for each in found)],
        ["Python", *(each["python"] for each in found)],
        *([name, *(each["installed"][name.lower().replace("_", "-")] for each in found)] for name in SHOWN),
        *([name, *(f"{each['seconds'][name]:.0f} s" for each in found)] for name in COMMANDS),
        ["warnings of libraries", *(len(each["warnings"]) for each in found)],
        ["date", *(each["date"] for each in found)],
    ]


if __name__ == "__main__":
    main()
