"""Classes, templates and triggers that a user names."""

import pytest
import tiny

from clipclean import data
from clipclean.errors import UsageError
from clipclean.jobs import naming


def test_words_that_nobody_names_are_those_of_imagenet():
    words = naming.read_vocabulary(None, None)
    assert (len(words.classes), len(words.templates)) == (1000, 7)
    assert words.classes[:2] == ("tench", "goldfish")
    assert all(template.count("{}") == 1 for template in words.templates)
    assert "a photo of the small {}." in words.templates  # open_clip's


def test_words_that_the_user_names_are_taken(read):
    assert naming.read_vocabulary(read[0].classes, read[0].templates) == data.Vocabulary(tiny.CLASSES, tiny.TEMPLATES)


def test_classes_that_are_one_to_the_tokenizer_are_refused():
    with pytest.raises(UsageError, match="'salt & pepper', 'salt &amp; pepper'"):
        naming.read_vocabulary(["lemon", "salt & pepper", "salt &amp; pepper", "salt pepper"], None)
