"""What tests of several commands ask."""

import json

import pytest
import tiny

from clipclean import cli


@pytest.fixture
def said(capsys):
    """What a command prints, which must end with this code: as JSON where that was asked for."""

    def ask(command, code=0):
        words = command.split() if isinstance(command, str) else [*map(str, command)]
        capsys.readouterr()  # what was printed before
        assert cli.main(words) == code
        out = capsys.readouterr().out
        return json.loads(out) if "--json" in words else out

    return ask


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
