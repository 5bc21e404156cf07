"""``clipclean triggers``."""

import json

from clipclean import cli
from clipclean.attack import triggers


def test_families_are_listed_with_defaults_that_are_read_and_one_is_shown_or_refused(capsys):
    assert cli.main(["triggers", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(triggers.FAMILIES)
    assert cli.main(["triggers", "list", "--json"]) == 0
    for family in json.loads(capsys.readouterr().out):
        given = ",".join(f"{key}={value['default']}" for key, value in family["parameters"].items())
        assert triggers.parse(f"{family['name']}:{given}") == triggers.parse(family["name"])
    assert cli.main(["triggers", "show", "warp"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert all(word in told for word in ("warp", "strength", triggers.FAMILIES["warp"].source))
    assert cli.main(["triggers", "show", "zzz"]) == 2
    assert "patch" in capsys.readouterr().err
