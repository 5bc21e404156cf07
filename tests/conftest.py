"""What all tests share."""

import pytest
import tiny
import torch

from clipclean.attack import triggers
from clipclean.detect import projection
from clipclean.export import open_clip_directory, parity
from clipclean.report import example_images

PANEL, GRID = triggers.PANEL, triggers.GRID
FEW = ("patch:place=random", "patch:place=corner", "blended:ratio=0.2", "sinusoid:delta=40/255")


def pytest_collection_modifyitems(items):
    """Files that have slow tests come first, so that no worker is left with a long one at the end."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Tiny models gain nothing by threads, and test runs share the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory):
    """Runs keep their state in a folder of the tests', never in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPCLEAN_STATE", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _short_maps():
    """Maps of embeddings show few images and take the fewest steps that scikit-learn allows; the projection's own tests take more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projection, "ITERATIONS", 250)
        patch.setattr(example_images, "MAPPED", 12)
        yield


@pytest.fixture(scope="session", autouse=True)
def _few_known_triggers():
    """An audit tries four known triggers instead of 31, and three instead of 262 beside a clean model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triggers, "PANEL", FEW)
        patch.setattr(triggers, "GRID", (GRID[0], GRID[180], GRID[-1]))  # one of each family
        yield


@pytest.fixture
def whole_panel(monkeypatch):
    """All known triggers, for the tests that are about them."""
    monkeypatch.setattr(triggers, "PANEL", PANEL)
    monkeypatch.setattr(triggers, "GRID", GRID)


@pytest.fixture(autouse=True)
def _slow_tests_try_all(request):
    """Slow tests run audits as users do."""
    if request.node.get_closest_marker("slow"):
        request.getfixturevalue("whole_panel")


@pytest.fixture
def job(tmp_path):
    """A tiny sanitizing job of the test's own."""
    return tiny.job(tmp_path / "job")


@pytest.fixture
def unread(monkeypatch):
    """Skip the check that starts a process and lets open_clip read the export: three seconds a run."""

    def equal(folder, samples, /):
        return parity.Parity(0.0, 1.0, top1_agreement=1.0, n=len(samples.images) + len(samples.texts), reader="nobody")

    monkeypatch.setattr(open_clip_directory, "check", equal)
