import json
import subprocess
import sys
from pathlib import Path

import pytest
from attacks.readers import READERS

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"


def result(seed, **inputs):
    """What a run wrote: for each reader so many inputs, all of them refused but one."""
    readers = {
        name: {
            "inputs": n,
            "read": 1,
            "refused": n - 1,
            "failures": [],
            "slowest": 0.5 * seed,
            "memory": 1.0,
            "processor": 2.0,
        }
        for name, n in inputs.items()
    }
    return {
        "inputs": sum(inputs.values()), "failures": 0, "processor_seconds": 60, "seed": seed, "limit_seconds": 5.0,
        "limit_memory_mib": 256, "python": "3.11.7", "torch": "2.13.0", "readers": readers,
    }  # fmt: skip


@pytest.fixture(scope="module")
def fuzz(script):
    return script("fuzz")


def test_results_of_several_seeds_are_added_up_reader_by_reader(fuzz):
    whole = fuzz.together([result(1, CSV=10, COCO=4), result(2, CSV=5), result(3)])
    assert (whole["inputs"], whole["processor_seconds"], whole["seed"]) == (19, 180, "1, 2")
    assert {name: (row["inputs"], row["read"], row["slowest"]) for name, row in whole["readers"].items()} == {
        "CSV": (15, 2, 1.0),
        "COCO": (4, 1, 0.5),
    }
    rows = fuzz.table(whole).splitlines()
    assert rows[2] == "| CSV | 15 | 2 | 13 | 0 | 1.00 | 1 |"
    assert "19 inputs, seed 1, 2, at most 5 s" in rows[-1]


def call(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_run_goes_on_where_the_last_one_ended_and_spreads_over_all_readers(tmp_path):
    out, page = tmp_path / "fuzz.json", tmp_path / "page.md"
    page.write_text("<!-- fuzz:begin -->\n<!-- fuzz:end -->\n")
    assert call("--turn", 4, "--inputs", 20, "--seed", 5, "--out", out).returncode == 0
    first = json.loads(out.read_text())
    assert first["inputs"] >= 20
    again = call("--turn", 4, "--inputs", 160, "--seed", 5, "--out", out)
    assert f"Going on after {first['inputs']} inputs." in again.stdout
    told = json.loads(out.read_text())
    assert {name: row["inputs"] > 0 for name, row in told["readers"].items()} == dict.fromkeys(READERS, True)
    assert all(row["read"] + row["refused"] == row["inputs"] for row in told["readers"].values())
    for other in ("--seed", 6), ("--limit", 4):
        refused = call("--turn", 4, "--out", out, *(("--seed", 5) if other[0] == "--limit" else ()), *other)
        assert refused.returncode == 1
        assert "is of a run with another" in refused.stderr
    (tmp_path / "six.json").write_text(json.dumps(result(6, CSV=1000)))
    added = call("--inputs", 0, "--seed", 5, "--out", out, "--add", tmp_path / "six.json", "--write", page)
    assert added.returncode == 0
    assert f"{told['inputs'] + 1000:,} inputs, seed 5, 6" in page.read_text()
    twice = call("--inputs", 0, "--seed", 5, "--out", out, "--add", out)
    assert "the same seed" in twice.stderr
