import json

from clipclean import cli
from clipclean.attack import triggers


def test_the_list_has_every_family_with_its_parameters(capsys):
    assert cli.main(["triggers", "list"]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert list(rows) == list(triggers.catalogue())
    assert rows["blended"] == "ratio=0.2"


def test_each_default_of_the_list_is_a_spec_that_is_read(capsys):
    assert cli.main(["triggers", "list", "--json"]) == 0
    for family in json.loads(capsys.readouterr().out):
        given = ",".join(f"{key}={value['default']}" for key, value in family["parameters"].items())
        assert triggers.parse(f"{family['name']}:{given}") == triggers.parse(family["name"])


def test_one_family_is_shown_with_source_and_meaning(capsys):
    assert cli.main(["triggers", "show", "warp"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("warp: ")
    assert "Source: " in told
    assert "strength" in told


def test_an_unknown_family_is_a_usage_error_that_names_the_known_ones(capsys):
    assert cli.main(["triggers", "show", "zzz"]) == 2
    assert "The families are patch, " in capsys.readouterr().err
