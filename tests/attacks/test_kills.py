import pytest
from attacks import kills


@pytest.mark.slow
def test_runs_that_are_killed_at_random_moments_are_finished_by_the_same_command(tmp_path):
    """Twelve of them; ``python -m attacks.kills 300`` for more."""
    found = kills.loop(tmp_path, 12, seed=1)
    assert found.problems == []
    assert found.killed == 12
