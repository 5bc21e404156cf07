import pytest

from clipclean import deadline


def test_a_deadline_is_over_within_its_block_alone_and_an_inner_one_ends_before_the_outer():
    assert not deadline.is_set()
    assert not deadline.is_over()
    with deadline.within(None):
        deadline.check()
    with deadline.within(0):
        assert deadline.is_over()
        with pytest.raises(deadline.OutOfTime):
            deadline.watched(abs)(-1)
    assert deadline.watched(abs)(-1) == 1
    with deadline.within(0), deadline.within(60):
        assert deadline.is_over()
    with deadline.within(1), deadline.within(None, reserve=61):
        assert deadline.is_over()
