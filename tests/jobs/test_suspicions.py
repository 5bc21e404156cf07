from clipclean import detect
from clipclean.findings import finding
from clipclean.jobs import suspicions


def test_what_only_the_unlearnings_search_named_cannot_fail_a_model():
    named, own = (detect.InvertedTrigger("mask", name, {}, 32) for name in ("cat", "dog"))
    told = [
        finding(rule, "told", level="error", target=trigger.target, trigger=trigger.spec)
        for trigger in (named, own)
        for rule in ("CC001", "CC062", "CC010")
    ]
    softened = suspicions.softened(told, [(own, 1)])
    assert [f.level for f in softened] == ["error"] * 3 + ["warning", "warning", "error"]
