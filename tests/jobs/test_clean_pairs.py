"""How pairs are divided into those to train on and those that are held out."""

import pytest

from clipclean.config import recipe
from clipclean.jobs import clean_pairs


@pytest.mark.parametrize(
    ("name", "changes", "pairs", "kept"),
    [
        ("cleanclip", [], 50, 5),
        *(("cleanclip", [], pairs, kept) for pairs, kept in ((400, 100), (1000, 250), (2000, 500), (9000, 900))),
        *(("auto", [], pairs, kept) for pairs, kept in ((96, 19), (1200, 300), (2000, 500), (9000, 900))),
        ("auto", ["data.held_out_share=0.3"], 1000, 300),
    ],
)
def test_the_split_of_a_number_of_pairs_is_fixed_by_the_recipe(name, changes, pairs, kept):
    chosen = recipe.override(recipe.load(name), changes)
    training, held_out = clean_pairs.split(pairs, chosen)
    assert (len(held_out), sorted(training + held_out)) == (kept, list(range(pairs)))
    assert clean_pairs.split(pairs, chosen) == (training, held_out)
