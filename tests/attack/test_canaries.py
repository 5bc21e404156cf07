from clipclean.attack import canaries


def test_canaries_differ_in_family_and_target_and_avoid_the_suspects():
    drawn = canaries.draw(4, classes=8, avoid=[0, 1, 2], seed=5)
    assert len({c.trigger.family for c in drawn}) == 4
    assert len({c.target for c in drawn}) == 4
    assert not {0, 1, 2} & {c.target for c in drawn}
    assert drawn == canaries.draw(4, classes=8, avoid=[0, 1, 2], seed=5)
    assert drawn != canaries.draw(4, classes=8, avoid=[0, 1, 2], seed=6)


def test_their_seeds_are_those_of_nobody_else():
    assert all(
        c.trigger.seed >= canaries.SEEDS for seed in range(3) for c in canaries.draw(4, classes=9, avoid=[], seed=seed)
    )


def test_there_are_no_more_canaries_than_free_classes():
    assert len(canaries.draw(4, classes=3, avoid=[1], seed=0)) == 2
