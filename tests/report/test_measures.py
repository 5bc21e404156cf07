from report import samples, searches
from report.parsed import Parsed

from clipclean.report import measures as comparison

comparison = Parsed(comparison)


def test_a_named_trigger_is_paired_with_itself_before():
    (attack,) = comparison.named(samples.passed())
    assert (attack.trigger, attack.target, attack.family) == (samples.SPEC, "banana", "patch")
    assert (attack.before.asr.value, attack.after.asr.value) == (981 / 990, 9 / 990)


def test_a_trigger_that_the_panel_found_is_paired_with_its_panel_probe():
    made = samples.passed()
    probes = made["before"]["measurements"]["probes"]
    probes[:] = [probe for probe in probes if not probe["known"]]
    (attack,) = comparison.named(made)
    assert (attack.before.trigger, attack.before.known) == (probes[0]["trigger"], False)
    assert attack.after.known


def test_a_named_trigger_that_was_not_measured_again_is_still_shown():
    made = samples.passed()
    probes = made["after"]["measurements"]["probes"]
    probes[:] = [probe for probe in probes if not probe["known"]]
    (attack,) = comparison.named(made)
    assert (attack.target, attack.after) == ("banana", None)
    assert [row.after for row in comparison.rows(attack, "asr", "distance")] == [None, None]


def test_the_panel_is_sorted_by_the_stronger_side_and_names_both_targets():
    attacks = comparison.panel(samples.passed())
    # excess before and after: patch 976/990 and 5/990, stripes 53 and 30, blended 14 and 9
    assert [attack.family for attack in attacks] == ["patch", "stripes", "blended"]
    assert attacks[0].target == "banana before, lemon after"
    assert attacks[1].target == "zebra"


def test_without_a_named_trigger_the_strongest_of_the_panel_is_shown_in_full():
    assert [attack.family for attack in comparison.detailed(samples.undecided())] == ["stripes"]


def test_of_a_compared_panel_only_the_trigger_that_shows_the_first_suspect_is_shown_in_full():
    made = searches.backdoored()
    for probe in made["measurements"]["probes"]:
        probe["known"] = False
    strongest, *_ = comparison.panel(made)
    made["suspects"] = [{"class": strongest.target, "score": 7.0, "trigger": strongest.trigger}]
    assert comparison.detailed(made) == [strongest]
    made["suspects"][0]["trigger"] = f"found:mask,class={strongest.target}"  # the panel is as in clean models
    assert comparison.detailed(made) == []
    made["suspects"] = []
    assert comparison.detailed(made) == []
    made["measurements"]["search"] = {}
    assert comparison.detailed(made) == [strongest]


def test_an_audit_has_its_measurements_on_the_after_side_only():
    made = samples.audited()
    row = comparison.accuracy(made)
    assert row.before is None
    assert row.after.value == 0.621
    (attack,) = comparison.named(made)
    assert attack.before is None


def test_measures_that_neither_side_has_are_left_out():
    made = samples.passed()
    for side in ("before", "after"):
        for probe in made[side]["measurements"]["probes"]:
            probe["knn_asr"] = None
    (attack,) = comparison.named(made)
    assert [row.measure.label for row in comparison.rows(attack, "asr", "knn_asr")] == ["Attack success rate"]
