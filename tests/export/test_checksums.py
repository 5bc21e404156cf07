import hashlib

import pytest

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


@pytest.mark.parametrize(
    "listed",
    [
        b"",
        b"\x00\xff",
        f"{A}  a\n{A[:-1]}  b\n".encode(),
        f"{A}  a\n{B}  a\n".encode(),
        *(f"{A}  {name}\n".encode() for name in ("../a", "/etc/passwd", "x/../../a")),
        f"{A}  ./a\n".encode(),  # a second spelling of a name
        f"{A}  a\x1b[2J\n".encode(),
        b" " * (2**20 + 1),
    ],
    ids=lambda listed: ascii(listed[-12:]),
)
def test_what_is_no_list_or_leads_out_of_its_folder_is_refused(listed):
    with pytest.raises(RefusedInput) as told:
        checksums.parse(listed)
    assert str(told.value).isprintable()
