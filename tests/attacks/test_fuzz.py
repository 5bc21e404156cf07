import json

from attacks import fuzz
from report import samples


def test_mutated_files_are_taken_or_refused_in_our_own_words(tmp_path):
    """Three seconds of it; ``make fuzz`` for an hour."""
    (tmp_path / "report.json").write_text(json.dumps(samples.failed()))
    found = fuzz.fuzz(tmp_path, 3.0, seed=0)
    assert found.problems == []
    assert all(
        found.tried[target] for target in ("table.csv", "recipe.yaml", "report.json", "m.safetensors", "m.pt", "a.img")
    )
