from report import samples, searches
from report.parsed import Parsed

from clipclean.report import provenance

provenance = Parsed(provenance)


def named(report):
    return {title: {fact.name: fact.value for fact in facts} for title, facts in provenance.facts(report)}


def test_an_audit_names_model_policy_images_and_search():
    found = named(searches.backdoored())
    assert list(found) == ["Model", "Policy", "Images measured on", "Search", "Machine and versions"]
    assert found["Policy"] == {"Name": "strict.yaml", "SHA-256": "9d" * 32}
    assert found["Images measured on"]["Skipped"] == "1"
    assert found["Search"]["Effort"] == "standard effort, 48.2 s, 18,432 forward passes over 64 images"
    assert found["Machine and versions"]["Time"] == "1 min 4 s"


def test_a_sanitization_names_recipe_data_and_what_was_written():
    found = named(samples.passed())
    assert list(found) == ["Model", "Recipe", "Clean data", "Written: open_clip", "Machine and versions"]
    assert found["Clean data"]["Pairs"] == "2,316"
    assert list(named(searches.cleaned()))[3:5] == ["Search before cleaning", "Search after cleaning"]


def test_what_is_not_known_is_left_out():
    made = samples.passed()
    made["data"]["name"] = ""
    del made["model"]["activation"]
    found = named(made)
    assert "Name" not in found["Clean data"]
    assert "Activation" not in found["Model"]


def test_every_value_of_recipe_and_policy_is_kept():
    assert [name for name, _ in provenance.resolved(samples.passed())] == ["recipe"]
    assert [name for name, _ in provenance.resolved(searches.backdoored())] == ["policy"]
    assert '"max_abnormality": 3.5' in provenance.resolved(searches.backdoored())[0][1]


def test_skipped_samples_are_listed_up_to_a_number_or_only_counted():
    made = samples.passed()
    made["data"]["skipped"] = [{"key": str(i), "reason": "r"} for i in range(30)]
    assert len(provenance.skipped(made, most=20)) == 20
    assert named(made)["Clean data"]["Skipped"] == "30"
    made["data"]["skipped"] = 7
    assert provenance.skipped(made, most=20) == ()
    assert named(made)["Clean data"]["Skipped"] == "7"
