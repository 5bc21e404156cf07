"""What all tests share. Torch is imported late: with ``-n`` the process that gives out the tests runs none."""

import functools
import os
import signal
import sys

import pytest

SECONDS = 8.0  # of the processor: what takes one on an idle machine takes thrice that where others share the core, and twice that on an older one
os.environ.pop("COLUMNS", None)  # which workers are given: the output of a test is a pipe's, which has no width
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for jobs in the background
IMPORTED = 20  # modules: a test that is the first to import a library is not slow for it


def pytest_configure(config):
    """Properties are tried on more examples where slow tests run; none has a time of its own, which a busy machine takes longer than."""
    # Where slow tests run, a property is tried on six times as many examples, and may take as much longer.
    config.times = 1 if "not slow" in config.option.markexpr else 6
    if config.getoption("numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ:
        return
    from hypothesis import settings

    settings.register_profile("tests", deadline=None, max_examples=50 * config.times)
    settings.load_profile("tests")


def pytest_collection_modifyitems(items):
    """Files that have slow tests come first, so that no worker is left with a long one at the end."""
    from hypothesis import strategies

    strategies.text().validate()  # makes its tables of characters, seconds on a fresh clone, which no test is charged for
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """A quick test that takes over ``SECONDS`` of the processor fails: what it needs is slow, or comes from the world. Traced code is not judged."""
    modules, began = len(sys.modules), sum(os.times()[:4])
    result = yield
    took = sum(os.times()[:4]) - began
    is_quick = not item.get_closest_marker("slow") and sys.gettrace() is None
    if is_quick and took > SECONDS * item.config.times and len(sys.modules) - modules < IMPORTED:
        pytest.fail(f"took {took:.1f} s of the processor: mark it as slow, or let it do less", pytrace=False)
    return result


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Makes a run that many tests read, in a folder that the workers of this session share."""
    import world as worlds

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "world"
    return functools.partial(worlds.made, folder)


def of_the_world(name, **job):
    """A fixture: the run of this name, made once for all workers."""
    return pytest.fixture(scope="session")(lambda world: world(name, **job))


whole_cleaning = of_the_world("cleaned")
whole_audit = of_the_world("audited")
whole_screening = of_the_world("screened")
every_format = of_the_world("exported", count=4)
victim = of_the_world("planted", count=96)


@pytest.fixture(scope="session", autouse=True)
def _short_and_apart(tmp_path_factory):
    """Runs are short, and keep their state in a folder of the tests', never in the user's."""
    import short
    import torch

    torch.set_num_threads(1)  # tiny models gain nothing by threads, and test runs share the cores
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # nobody cuts the power, and a run waits for the disk sixteen times
        patch.setenv("CLIPCLEAN_STATE", str(tmp_path_factory.mktemp("state")))
        short.estimates(patch)
        short.maps(patch)
        short.known_triggers(patch)
        yield


@pytest.fixture
def whole_panel(monkeypatch):
    """All known triggers, for the tests that are about them or run audits as users do."""
    import short

    short.all_known_triggers(monkeypatch)


@pytest.fixture
def job(tmp_path):
    """A tiny sanitizing job of the test's own."""
    import tiny

    return tiny.job(tmp_path / "job")


@pytest.fixture
def unread(monkeypatch):
    import short

    short.unread(monkeypatch)
