import pytest

from clipclean.train import Launch, launch_of, leftovers

WHOLE = {
    "RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_RUN_ID": "none",
}


def test_what_torchrun_tells_is_taken():
    assert launch_of(WHOLE) == Launch(rank=1, size=4, local_rank=1, local_size=2)
    assert leftovers(WHOLE) == []


@pytest.mark.parametrize("name", WHOLE)
def test_where_one_is_missing_all_are_ignored_and_named(name):
    some = {key: value for key, value in WHOLE.items() if key != name}
    assert launch_of(some) is None
    assert sorted(leftovers(some)) == sorted(some)


@pytest.mark.parametrize(
    "change",
    [
        {"WORLD_SIZE": "abc"},
        {"LOCAL_WORLD_SIZE": "x"},
        {"RANK": "4"},
        {"RANK": "-1"},
        {"LOCAL_RANK": "2"},
        {"LOCAL_WORLD_SIZE": "8"},
        {"MASTER_ADDR": ""},
    ],
)
def test_numbers_that_do_not_agree_are_ignored(change):
    assert launch_of(WHOLE | change) is None
    assert leftovers(WHOLE | change)


def test_a_process_that_is_alone_is_told_nothing():
    assert launch_of({}) is None
    assert leftovers({}) == []
    assert leftovers({"MASTER_PORT": "29500", "WORLD_SIZE": "1", "RANK": "0"}) == []
