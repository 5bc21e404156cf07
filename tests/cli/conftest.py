"""What tests of several commands ask."""

import pytest

from clipclean import cli


def listing(folder):
    return sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def refused(capsys):
    """Give a command that must end with this code and one message that names something, and leave all files as they are."""

    def check(command, folder, code, named):
        before = listing(folder)
        assert cli.main(command) == code
        captured = capsys.readouterr()
        assert (captured.out, named in captured.err, "Traceback" in captured.err) == ("", True, False), captured.err
        assert listing(folder) == before

    return check
