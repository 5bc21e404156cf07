"""A job that several tests read."""

import pytest
import tiny


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """A job that no test changes, with its model and its clean set."""
    job = tiny.job(tmp_path_factory.mktemp("read") / "job")
    return job, *tiny.loaded(job)
