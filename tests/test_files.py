import errno
import os
from pathlib import Path

import pytest
from tiny import names

from clipclean import files
from clipclean.errors import ResourceError


def test_a_file_has_the_digest_of_the_standard_and_text_is_not_seen_before_it_is_whole(tmp_path):
    place = tmp_path / "a.txt"
    place.write_text("something longer than before")
    files.write_text(place, "grün\n")
    assert place.read_bytes() == b"gr\xc3\xbcn\n"
    assert names(tmp_path) == {"a.txt"}
    place = tmp_path / "a"
    seen = []

    def write(partial):
        partial.write_bytes(b"new")
        seen.append((place.exists(), partial.parent))

    files.write_whole(place, write)
    assert seen == [(False, tmp_path)]  # beside it, so that the move is one step
    assert place.read_bytes() == b"new"
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert files.sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), ValueError("bug"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_no_part_of_the_new_one(tmp_path, error):
    place = tmp_path / "a"
    place.write_bytes(b"old")

    def write(partial):
        partial.write_bytes(b"ha")
        raise error

    with pytest.raises(ResourceError if isinstance(error, OSError) else type(error)):
        files.write_whole(place, write)
    assert place.read_bytes() == b"old"
    assert names(tmp_path) == {"a"}


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (OSError(errno.ENOSPC, "x"), "space"),
        (OSError(errno.EACCES, "x"), os.strerror(errno.EACCES)),
        (OSError("told"), "told"),
    ],
)
def test_a_failure_to_write_is_told_with_its_reason_and_the_path_that_was_asked_for(tmp_path, error, named):
    told = files.cannot_write(tmp_path, error)
    assert told.exit_code == 5
    assert named in str(told)
    assert str(tmp_path) in str(told)
    with pytest.raises(ResourceError):
        files.write_text(tmp_path / "none" / "a", "x")
    files.check_writable(tmp_path, tmp_path / "out")
    with pytest.raises(ResourceError, match="out"):
        files.check_writable(tmp_path / "none", Path("out"))
    assert not list(tmp_path.iterdir())
