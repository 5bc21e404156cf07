"""What tests of several commands ask."""

import pytest
import tiny

from clipclean import cli


@pytest.fixture
def refused(capsys):
    """Give a command that must end with this code and one message that names something, and leave all files as they are."""

    def check(command, folder, code, named):
        before = tiny.listing(folder)
        assert cli.main(command) == code
        captured = capsys.readouterr()
        assert (captured.out, named in captured.err, "Traceback" in captured.err) == ("", True, False), captured.err
        assert tiny.listing(folder) == before

    return check
