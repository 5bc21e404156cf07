"""Inputs that wait, that have no end, that cost much for few bytes, or that lead elsewhere."""

import os
import re
import struct
import time
from pathlib import Path

import processes
import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import save_file

from clipclean import checkpoint, cli, data
from clipclean.checkpoint import contents
from clipclean.data import image, labels
from clipclean.errors import RefusedInput, UsageError

LIMITS = data.ReadLimits(max_pixels=50_000_000, max_bytes=50_000_000, max_skipped_share=0.5, max_pairs=None)
SECONDS = 5  # of the processor: a loaded machine takes longer by the clock


# What waits: every option that names a file, given a pipe, a device or a file of /proc without an end.


def endless(tmp_path, kind):
    if kind == "pipe":
        os.mkfifo(tmp_path / "pipe")
        return tmp_path / "pipe"
    place = Path("/dev/zero" if kind == "device" else "/proc/kmsg")
    if not os.access(place, os.R_OK):
        pytest.skip(f"cannot read {place}")
    return place


@pytest.mark.parametrize("kind", ["pipe", "device", "kernel log"])
def test_no_input_is_ever_waited_for(tmp_path, job, kind):
    place = str(endless(tmp_path, kind))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "SHA256SUMS").symlink_to(place)
    audit, none = ["audit", str(job.model), "--arch", str(job.arch)], str(tmp_path / "none.pt")
    commands = {
        "model": ["inspect", place],
        "classes": [*audit, "--classes", place],
        "templates": [*audit, "--templates", place],
        "arch": ["inspect", str(job.model), "--arch", place],
        "data": [*audit, "--data", place],
        "policy": [*audit, "--policy", place],
        "reference": [*audit, "--reference", place],
        "recipe": ["sanitize", none, "--data", none, "--recipe", place],
        "sums": ["verify", str(folder)],
        "report": ["report", "convert", place, "--to", "text"],
        "recipe file": ["recipes", "validate", place],
    }
    for role, command in commands.items():
        started = time.process_time()
        code = cli.main(command)
        assert code in (2, 3), (role, code)
        assert time.process_time() - started < SECONDS, role


# What costs much for few bytes.


def scan_bomb(path, scans):
    """A progressive JPEG whose last scan is repeated."""
    Image.new("L", (600, 600), 90).save(path, progressive=True)
    content = path.read_bytes()
    last = content.rindex(b"\xff\xda")
    path.write_bytes(content[:last] + (content[last:-2]) * scans + b"\xff\xd9")


def test_a_jpeg_of_many_scans_is_refused_unread(tmp_path):
    scan_bomb(tmp_path / "bomb.jpg", 2000)
    started = time.process_time()
    with pytest.raises(RefusedInput, match=r"2,0\d\d scans, and 100"):
        image.check((tmp_path / "bomb.jpg").read_bytes(), max_pixels=LIMITS.max_pixels)
    assert time.process_time() - started < 1


def test_a_header_that_describes_less_than_the_file_is_refused_before_the_rest_is_read(tmp_path, monkeypatch):
    header = b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    (tmp_path / "model").write_bytes(struct.pack("<Q", len(header)) + header + bytes(9 * 2**20))
    monkeypatch.setattr(contents, "load", None)
    with pytest.raises(RefusedInput, match=r"\b16 bytes.*\b9,437,184\b"):
        checkpoint.read(tmp_path / "model")


def test_what_is_said_of_a_list_is_bounded(tmp_path):
    (tmp_path / "list.txt").write_text("".join(f"{number} {{}} {{}}\n{number}\n{number}\n" for number in range(5_000)))
    for read in (labels.read_classes, labels.read_templates):
        with pytest.raises(UsageError) as caught:
            read(tmp_path / "list.txt")
        assert len(str(caught.value)) < 2_000


# What leads elsewhere: the content of what is no part of a data set is neither read nor printed.

SECRET = "root:x:0:0:AWS_SECRET_ACCESS_KEY=abcdef:/root:/bin/bash"


@pytest.mark.parametrize(
    "name", ["captions.csv", "captions.jsonl", "captions.tsv", "metadata.csv", "metadata.jsonl", "a.tar"]
)
def test_a_link_out_of_a_data_folder_is_refused_unshown(tmp_path, capsys, job, name):
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    folder = tiny.pairs(tmp_path / "set")
    (folder / name).symlink_to(tmp_path / "secret")
    assert cli.main(job.audit("--data", folder, "--quiet")) == 3
    printed = capsys.readouterr()
    assert name in printed.err
    assert "SECRET" not in printed.err + printed.out


@pytest.mark.parametrize("first", [SECRET, "-----BEGIN PRIVATE KEY-----", "password,hunter2:5", "a\tb\x1b[2J"])
def test_the_first_line_of_what_is_no_table_is_not_printed(tmp_path, capsys, job, first):
    (tmp_path / "some.csv").write_text(f"{first}\nmore\n")
    assert cli.main(job.audit("--data", tmp_path / "some.csv", "--quiet")) == 2
    told = capsys.readouterr().err
    assert not any(part in told for part in re.findall(r"[A-Za-z0-9_]{6,}", first))


def test_a_side_file_behind_a_link_is_no_caption(tmp_path):
    (tmp_path / "secret").write_text(SECRET)
    folder = tiny.pairs(tmp_path / "set")
    (folder / "000.txt").unlink()
    (folder / "000.txt").symlink_to(tmp_path / "secret")
    clean = data.read(folder, images=data.ImageCache(LIMITS, fit=data.Fit(16, lambda image: image)))
    assert not any("SECRET" in pair.caption for pair in clean.pairs)
    assert [skipped.key for skipped in clean.skipped] == ["000.png"]


PEAKS = """
import resource, sys
from pathlib import Path
from clipclean import checkpoint
for name in sys.argv[1:]:
    checkpoint.read(Path(name))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
def test_reading_a_large_model_takes_little_more_memory_than_the_file(tmp_path):
    """200 MB, in a process of its own, after a tiny file; the peak never falls."""
    sizes = {"small": 1, "large": 50_000_000}
    for name, count in sizes.items():
        save_file({"visual.proj": torch.ones(count)}, tmp_path / name)
    done = processes.python("-c", PEAKS, *(tmp_path / name for name in sizes), check=True)
    small, large = map(int, done.stdout.split())
    assert large - small <= 1.1 * 4 * sizes["large"]
