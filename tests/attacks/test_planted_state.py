"""Files and links that come with a model, in the places where a run once kept its state."""

import pytest
import tiny

from clipclean import cli


@pytest.fixture
def job(tmp_path):
    return tiny.job(tmp_path / "job")


@pytest.fixture
def precious(tmp_path):
    """A home folder that no run has any business with, and what is in it."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True)
    (folder / "thesis.txt").write_text("years of work")
    (folder / ".ssh" / "id").write_text("key")
    return folder


def everything_in(folder):
    return {path.relative_to(folder).as_posix(): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.parametrize("name", [".out.clipclean-run", ".clipclean-out.clipclean-run"])
def test_a_link_in_the_place_of_the_state_leaves_its_target_alone(job, precious, unread, name):
    (job.folder / name).symlink_to(precious)
    before = everything_in(precious)
    assert cli.main(job.sanitize()) == 4
    assert everything_in(precious) == before


def test_a_link_to_the_folder_above_leaves_what_is_beside_the_output_alone(job, unread):
    (job.folder / ".out.clipclean-run").symlink_to("..")
    before = everything_in(job.folder.parent)
    assert cli.main(job.sanitize()) == 4
    after = everything_in(job.folder.parent)
    assert {name: after.get(name) for name in before} == before


def test_a_link_in_the_place_of_the_lock_leaves_its_target_alone(job, precious, unread):
    (job.folder / ".out.clipclean-run").mkdir()
    (job.folder / ".out.clipclean-run" / "lock").symlink_to(precious / "thesis.txt")
    assert cli.main(job.sanitize()) == 4
    assert (precious / "thesis.txt").read_text() == "years of work"
