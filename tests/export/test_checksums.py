import hashlib

import pytest
from cases import each

from clipclean.errors import RefusedInput
from clipclean.export import checksums

A, B = "a" * 64, "b" * 64


def test_checksums_are_those_of_sha256sum_sorted_by_name(tmp_path):
    for name in ("b", "a", "SHA256SUMS"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "c").write_text("c")
    digests = [hashlib.sha256(name.encode()).hexdigest() for name in "abc"]
    listed = checksums.text(tmp_path)
    assert listed == f"{digests[0]}  a\n{digests[1]}  b\n{digests[2]}  folder/c\n"
    assert checksums.parse(listed.encode()) == dict(zip(("a", "b", "folder/c"), digests, strict=True))


@each(
    ("listed", "words"),
    [
        (b"", "is empty"),
        (b"\x00\xff", "line 1, is no digest"),
        (f"{A}  a\n{A[:-1]}  b\n".encode(), "line 2, is no digest"),
        (f"{A}  a\n{B}  a\n".encode(), "second time: 'a'"),
        (f"{A}  ../a\n".encode(), "outside its folder"),
        (f"{A}  /etc/passwd\n".encode(), "outside its folder"),
        (f"{A}  x/../../a\n".encode(), "outside its folder"),
        (f"{A}  ./a\n".encode(), "outside its folder"),  # a second spelling of a name
        (f"{A}  a\x1b[2J\n".encode(), "is no digest"),
        (b" " * (2**20 + 1), "no honest one needs more"),
    ],
)
def test_what_is_no_list_is_refused(listed, words):
    with pytest.raises(RefusedInput, match=words):
        checksums.parse(listed)
