import json

import pytest
import tiny

from clipclean import cli


@pytest.fixture
def folder(tmp_path, unread, capsys):
    job = tiny.job(tmp_path / "job", count=4)
    given = ["export", job.model, "--out", job.out, "--arch", job.arch, "--data", job.data, "--format", "open_clip"]
    assert cli.main([*map(str, given), "--quiet"]) == 0
    capsys.readouterr()
    return job.out


def told(capsys, *arguments):
    """Exit code, stdout, stderr."""
    code = cli.main(["verify", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_a_whole_folder_is_a_line_a_check(folder, capsys):
    code, out, err = told(capsys, folder)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "ok: checksums: 4 files"
    assert out.splitlines()[-1] == f"{folder}: whole"
    assert told(capsys, folder, "--quiet") == (0, "", "")


def test_a_changed_file_is_told_by_name_and_fails(folder, capsys):
    (folder / "README.md").write_text("x")
    code, out, _ = told(capsys, folder, "--quiet")
    assert code == 1
    assert "mismatch: checksums: README.md: has sha256 " in out
    assert "ok: checksums" not in out
    assert out.splitlines()[-1].endswith("2 finding(s): do not use it")


def test_json_has_the_findings_and_the_exit_code(folder, capsys):
    (folder / "extra\x1b[2J.bin").write_text("x")
    code, out, _ = told(capsys, folder, "--json")
    found = json.loads(out)
    assert (code, found["exit_code"]) == (1, 1)
    assert {each["file"] for each in found["findings"]} == {"extra\x1b[2J.bin", "provenance.intoto.json"}
    assert "\x1b" not in told(capsys, folder)[1]


def test_what_cannot_be_verified_is_refused(folder, capsys):
    (folder / "SHA256SUMS").unlink()
    code, out, err = told(capsys, folder)
    assert (code, out) == (3, "")
    assert "nothing says what should be in it" in err
