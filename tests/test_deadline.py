import pytest

from clipclean import deadline


def test_without_a_deadline_nothing_is_over():
    assert not deadline.is_set()
    assert not deadline.is_over()
    with deadline.within(None):
        deadline.check()


def test_what_is_over_is_over_and_holds_no_longer_than_its_block():
    with deadline.within(0):
        assert deadline.is_over()
        with pytest.raises(deadline.OutOfTime):
            deadline.watched(abs)(-1)
    assert deadline.watched(abs)(-1) == 1


def test_an_inner_deadline_reaches_no_further_than_the_outer_one():
    with deadline.within(0), deadline.within(60):
        assert deadline.is_over()


def test_a_reserve_ends_work_before_the_deadline():
    with deadline.within(1), deadline.within(None, reserve=61):
        assert deadline.is_over()
