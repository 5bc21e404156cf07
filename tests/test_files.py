"""Whole files or none, what is no regular file, texts from outside, and deadlines."""

import errno
import os
import socket
from pathlib import Path

import pytest
from tiny import names

from clipclean import deadline, files, untrusted
from clipclean.errors import RefusedInput, ResourceError


def test_text_takes_the_place_of_what_a_file_held(tmp_path):
    place = tmp_path / "a.txt"
    place.write_text("something longer than before")
    files.write_text(place, "grün\n")
    assert place.read_bytes() == b"gr\xc3\xbcn\n"
    assert names(tmp_path) == {"a.txt"}


def test_a_file_is_not_seen_before_it_is_whole(tmp_path):
    place = tmp_path / "a"
    sights = []

    def write(partial):
        partial.write_bytes(b"new")
        sights.append((place.exists(), partial.parent))

    files.write_whole(place, write)
    assert sights == [(False, tmp_path)]  # beside it, so that the move is one step
    assert place.read_bytes() == b"new"


def test_a_file_has_the_digest_of_the_standard(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert files.sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), ValueError("bug"), KeyboardInterrupt()])
def test_a_failed_write_leaves_a_folder_as_it_was(tmp_path, error):
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
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "x"), "space"),
        (OSError(errno.EACCES, "x"), os.strerror(errno.EACCES)),
        (OSError("told"), "told"),
    ],
)
def test_a_failure_to_write_is_told_with_its_reason(tmp_path, error, reason):
    failure = files.cannot_write(tmp_path, error)
    assert (failure.exit_code, reason in str(failure), str(tmp_path) in str(failure)) == (5, True, True)


def test_text_is_not_written_into_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ResourceError):
        files.write_text(tmp_path / "none" / "a", "x")
    assert not list(tmp_path.iterdir())


def test_a_trial_of_writing_leaves_nothing(tmp_path):
    files.check_writable(tmp_path, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_trial_of_writing_that_fails_names_the_path_that_was_asked_for(tmp_path):
    with pytest.raises(ResourceError, match="out"):
        files.check_writable(tmp_path / "none", Path("out"))
    assert not list(tmp_path.iterdir())


def test_a_deadline_is_over_within_its_block_alone():
    assert not deadline.is_set()
    assert not deadline.is_over()
    with deadline.within(0):
        assert deadline.is_over()
        with pytest.raises(deadline.OutOfTime):
            deadline.watched(abs)(-1)
    assert deadline.watched(abs)(-1) == 1


def test_a_block_without_a_limit_has_no_deadline():
    with deadline.within(None):
        deadline.check()


def test_an_inner_deadline_never_reaches_beyond_the_outer_one():
    with deadline.within(0), deadline.within(60):
        assert deadline.is_over()


def test_a_reserve_is_taken_from_the_outer_deadline():
    with deadline.within(1), deadline.within(None, reserve=61):
        assert deadline.is_over()


def bound(place):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda place: place.symlink_to("/dev/null"), bound])
def test_what_is_no_regular_file_is_refused_without_a_wait(tmp_path, make):
    make(tmp_path / "it")
    for use in (files.sha256, untrusted.open_regular, lambda path: untrusted.read(path, limit=1)):
        with pytest.raises(OSError, match=r"(?i)not a regular file|is a directory|device or address"):
            use(tmp_path / "it")


def test_a_file_is_read_whole_or_refused_before_it_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"abcdef")
    assert untrusted.read(tmp_path / "a", limit=6) == b"abcdef"
    assert untrusted.head(tmp_path / "a", 4) == b"abcd"
    with pytest.raises(untrusted.TooLarge, match="5 bytes"):
        untrusted.read(tmp_path / "a", limit=5)
    with (tmp_path / "holes").open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(untrusted.TooLarge):
        untrusted.read(tmp_path / "holes", limit=2**20)


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs /proc")
def test_a_file_that_does_not_tell_its_size_is_refused():
    with pytest.raises(untrusted.NoRegularFile):
        untrusted.read(Path("/proc/version"), limit=2**20)


def test_a_link_leads_out_unless_its_target_is_in_the_folder(tmp_path):
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "file").touch()
    (tmp_path / "outside").touch()
    links = {"inside": "file", "deep/up": "../file"}
    links |= {"outside": "../outside", "nowhere": "none", "itself": "itself", "root": "/"}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    out = [name for name in links if untrusted.leads_out(folder / name, folder)]
    assert out == ["outside", "nowhere", "itself", "root"]
    assert not untrusted.leads_out(folder / "file", folder)


def test_what_is_not_printable_appears_as_its_escape():
    raw = ("\x1b]0;pwned\x07.pt", "a\nb", "invoice\u202egnp.pt", "half\udc80", "Bäume 木.pt")
    safe = [r"\x1b]0;pwned\x07.pt", r"a\nb", r"invoice\u202egnp.pt", r"half\udc80", "Bäume 木.pt"]
    assert [untrusted.printable(each) for each in raw] == safe


def test_no_line_of_a_message_is_a_command_of_a_ci_system():
    # GitHub's runner takes ``::`` behind blanks at the start of a line for a command, and ``##[`` anywhere; Azure's ``##vso[`` too.
    message = untrusted.message(
        "error:\n::error title=x::pwned\n  a.pt##[set-output]x\r::warning::y\n\t ::a::\n###[x]##vso[y]\na::b ## [c]"
    )
    assert message.split("\n") == [
        "error:",
        r"\x3a:error title=x::pwned",
        r"  a.pt#\x23[set-output]x\r::warning::y",
        r"\t ::a::",
        r"##\x23[x]#\x23vso[y]",
        "a::b ## [c]",
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1, "a": 2}', "appears twice"),
        ('{"a": {"b": 1, "b": 1}}', "appears twice"),
        ("[NaN]", "not a JSON number"),
        ("[-Infinity]", "not a JSON number"),
        (b"\xff", "utf-8"),
        ("[" + "1" * 5000 + "]", "(?i)digits"),
    ],
)
def test_json_that_readers_take_differently_is_refused(text, why):
    with pytest.raises(ValueError, match=why):
        untrusted.value(text)


def test_an_object_is_bounded_in_size():
    assert untrusted.loads(b'{"a": [1]}', "it", limit=10) == {"a": [1]}
    with pytest.raises(RefusedInput):
        untrusted.loads(b'{"a": [1]}', "it", limit=9)


def test_an_object_is_bounded_in_depth():
    with pytest.raises(RefusedInput):
        untrusted.loads(b'{"a":' + b"[" * 100_000, "it", limit=10**6)


def test_a_list_in_place_of_an_object_is_refused():
    with pytest.raises(RefusedInput):
        untrusted.loads(b"[]", "it", limit=10)
