from clipclean.attack import canaries


def test_canaries_differ_in_family_and_target_avoid_the_suspects_and_have_seeds_of_nobody_else():
    drawn = canaries.draw(4, classes=8, avoid=[0, 1, 2], seed=5)
    assert len({c.trigger.family for c in drawn}) == 4
    assert len({c.target for c in drawn}) == 4
    assert not {0, 1, 2} & {c.target for c in drawn}
    assert drawn == canaries.draw(4, classes=8, avoid=[0, 1, 2], seed=5)
    assert drawn != canaries.draw(4, classes=8, avoid=[0, 1, 2], seed=6)
    assert len(canaries.draw(4, classes=3, avoid=[1], seed=0)) == 2  # as many as free classes
    seeds = [c.trigger.seed for seed in range(3) for c in canaries.draw(4, classes=9, avoid=[], seed=seed)]
    assert min(seeds) >= canaries.SEEDS
