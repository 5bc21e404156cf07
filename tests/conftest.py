"""What all tests share."""

import pytest
import torch

from clipclean.detect import projection
from clipclean.export import open_clip_directory, parity


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
        patch.setenv("CLIPCLEAN_CACHE", str(tmp_path_factory.mktemp("cache") / "results"))
        patch.setenv("CLIPCLEAN_NO_CACHE", "1")  # what is tested is the audit
        yield


@pytest.fixture(scope="session", autouse=True)
def _short_maps():
    """Maps of embeddings take the fewest steps that scikit-learn allows; the projection's own tests take as many as users get."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projection, "ITERATIONS", 250)
        yield


@pytest.fixture
def unread(monkeypatch):
    """Skip the check that starts a process and lets open_clip read the export: three seconds a run."""

    def equal(folder, /, *, pixels, tokens, images, texts):
        return parity.Parity(0.0, 1.0, top1_agreement=1.0, n=len(images) + len(texts), reader="nobody")

    monkeypatch.setattr(open_clip_directory, "check", equal)
