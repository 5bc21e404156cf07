"""What ci/dist.sh refuses to build a release from: each tree is a small repository with one fault."""

import os
import shutil
import subprocess

import pytest
from ci.gates import ROOT

TREE = {
    "clipclean/__init__.py": '__version__ = "1.2.0"\n',
    "CHANGELOG.md": "# Changelog\n\n## [Unreleased]\n\n## [1.2.0]\n\n- A change.\n",
    "CITATION.cff": "version: 1.2.0\n",
    ".gitignore": "dist/\n",
}
# Git reads no settings of the machine, and these names commit.
GIT = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
GIT |= {f"GIT_{role}_{part}": "a@example.org" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def tree(tmp_path):
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "ci").mkdir()
    shutil.copy(ROOT / "ci" / "dist.sh", tmp_path / "ci")
    return tmp_path


def git(folder, *words):
    subprocess.run(["git", *words], cwd=folder, env=os.environ | GIT, check=True, capture_output=True)


def commit(folder):
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "A version")


def dist(folder, python="false"):
    """Its exit code, and all that it says; ``python`` stands where the build would begin."""
    words = ["bash", "ci/dist.sh", python]
    env = os.environ | GIT | {"GIT_CEILING_DIRECTORIES": str(folder.parents[1])}
    run = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)
    return run.returncode, run.stdout + run.stderr


def test_a_clean_tree_with_a_version_is_built(tree):
    commit(tree)
    assert "-m build --outdir dist ." in dist(tree, python="echo")[1]


def test_a_folder_without_a_commit_is_refused(tree):
    code, said = dist(tree)
    assert code == 1
    assert "no git checkout" in said


def test_a_folder_inside_another_repository_is_refused(tree):
    inner = tree / "copy"
    shutil.copytree(tree / "ci", inner / "ci")
    commit(tree)
    code, said = dist(inner)
    assert code == 1
    assert str(tree) in said


@pytest.mark.parametrize("name", ["CITATION.cff", "clipclean/new.py"])
def test_a_file_that_no_commit_has_so_is_refused_by_name(tree, name):
    commit(tree)
    (tree / name).write_text("version: 1.2.0\nx\n")
    code, said = dist(tree)
    assert code == 1
    assert name in said


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("clipclean/__init__.py", '__version__ = "1.3.0"\n'),  # which neither page knows
        ("CHANGELOG.md", "## [Unreleased]\n\n- Another.\n\n## [1.2.0]\n\n- A change.\n"),
        ("CHANGELOG.md", "## [Unreleased]\n\n## [1.1.0]\n\n- A change.\n"),
        ("CITATION.cff", "version: 1.1.0\n"),
    ],
)
def test_a_version_that_a_page_does_not_have_is_refused(tree, name, text):
    (tree / name).write_text(text)
    commit(tree)
    code, said = dist(tree)
    assert code == 1
    assert "CHANGELOG.md" in said or "CITATION.cff" in said
    assert not (tree / "dist").exists()
