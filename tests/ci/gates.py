"""A job that runs the gate, with a clipclean that only writes down how it was called."""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
GATE = ROOT / "ci" / "gate.sh"

STUB = """#!/usr/bin/env bash
printf '%s\\0' "$@" >arguments
env | grep -a '^CLIPCLEAN_' >variables
echo "told on stdout"; echo "told on stderr" >&2
printf '%s\\n' "${STUB_SAYS:-}"
case $STUB_CODE in
  0 | 1 | 4)
    for argument in "$@"; do
      if [[ $argument == --report=* && -z ${STUB_SILENT:-} ]]; then
        path=${argument#--report=*=}
        case $STUB_CODE in 0) verdict=pass ;; 1) verdict=fail ;; *) verdict=inconclusive ;; esac
        case $path in
          *.json) printf '{\\n  "verdict": "%s"\\n}\\n' "${STUB_VERDICT:-$verdict}" >"$path" ;;
          *) echo "report of this run" >"$path" ;;
        esac
      fi
    done ;;
esac
exit "$STUB_CODE"
"""


class Run(NamedTuple):
    """What became of a job. ``arguments`` is None if clipclean was not called."""

    result: int
    log: str
    arguments: list[str] | None


class Job:
    """A folder with an empty workspace, and with the stub on its PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stubs, self.workspace = folder, folder / "bin", folder / "workspace"
        self.summary, self.outputs = folder / "summary.md", folder / "outputs.txt"
        self.workspace.mkdir()
        self.stubs.mkdir()
        stub(self.stubs / "clipclean")

    def run(self, *command: object, code: int = 0, github: bool = False, **variables: str) -> Run:
        """Run the gate, or another command, with a clipclean that exits with ``code``; ``variables`` is the rest."""
        environment = {"PATH": f"{self.stubs}{os.pathsep}{os.defpath}", "STUB_CODE": str(code)}
        if github:
            places = {"GITHUB_STEP_SUMMARY": str(self.summary), "GITHUB_OUTPUT": str(self.outputs)}
            environment |= {"GITHUB_ACTIONS": "true"} | places
        told = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": 60}
        words = list(map(str, command or (GATE,)))
        ended = subprocess.run(words, cwd=self.workspace, env=environment | variables, check=False, **told)
        record = self.workspace / "arguments"
        arguments = record.read_bytes().decode().split("\0")[:-1] if record.exists() else None
        return Run(ended.returncode, ended.stdout, arguments)

    def told(self) -> dict[str, str]:
        """The outputs that the job set, by name."""
        return dict(line.split("=", 1) for line in self.outputs.read_text(encoding="utf-8").splitlines())


def stub(path: Path, text: str = STUB) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


# Values that a careless script runs, splits, expands or takes for an option.
HOSTILE = (
    "$(touch pwned)",
    "`touch pwned`",
    "x; touch pwned #",
    '"; touch pwned; "',
    "' && touch pwned && '",
    "two words",
    "two\nlines",
    "two\r\nlines",
    "--exit-zero",
    "-rf",
    "--",
    "*",
    "~",
    "$HOME",
    "%s\\n",
    "a=b",
    "naïve ✓",
)
