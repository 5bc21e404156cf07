import pytest
from report import samples

from clipclean.report import verdicts
from clipclean.report.rules import RULES


def test_each_verdict_has_its_headline():
    assert verdicts.headline(samples.passed()).startswith("The backdoor behaviour that was measured is gone")
    assert verdicts.headline(samples.undecided()) == "Nothing shows that there was a backdoor, nor that one is gone."
    assert verdicts.headline(samples.audited()) == "The model shows backdoor behaviour: do not deploy it."


def test_a_failure_names_only_its_own_reasons():
    made = samples.failed()
    made["findings"] = made["findings"][1:]
    assert verdicts.headline(made) == "The model lost more clean accuracy than the budget allows."


def test_too_little_data_is_told_as_such():
    made = samples.undecided()
    made["findings"] = [samples.finding("CC020", "warning", "Too few pictures.")]
    assert verdicts.headline(made) == "There is too little evidence to say pass or fail."


def test_next_steps_are_those_of_the_findings_worst_first_and_each_once():
    made = samples.failed()
    made["findings"] = [*reversed(made["findings"]), made["findings"][0], samples.passed()["findings"][0]]
    assert verdicts.next_steps(made) == [RULES[code].action for code in ("CC010", "CC001", "CC030")]


def test_only_a_pass_says_how_to_use_the_weights():
    assert "local-dir:" in verdicts.next_steps(samples.passed())[0]
    assert not any(
        "local-dir:" in step for made in (samples.failed(), samples.undecided()) for step in verdicts.next_steps(made)
    )


@pytest.mark.parametrize("made", [samples.passed, samples.failed, samples.undecided, samples.audited])
def test_the_limits_say_how_many_triggers_were_tried_and_that_none_was_searched_for(made):
    assert verdicts.limits(made())[0].startswith(
        "Triggers other than the 3 that were tried. Unknown ones were not searched"
    )


def test_every_rule_says_what_it_means_what_it_does_not_show_and_what_to_do():
    for rule in RULES.values():
        assert all(text.endswith(".") for text in (rule.means, rule.does_not_show, rule.action))
        assert rule.level in ("error", "warning", "note")
        assert rule.stage in ("triggers", "accuracy", "evidence", "data", "recipe")
