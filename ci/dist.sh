#!/usr/bin/env bash
# ci/dist.sh PYTHON: sdist and wheel of the commit that is checked out, into dist/, with their SHA256SUMS. docs/releasing.md says what for.
#
# Refuses a tree that is not as its commit has it, a version that the changelog or CITATION.cff does not know, and changes that no version
# has yet: what is published can then be built again by anybody. The wheel is built from the sdist, so the sdist is whole; dates in both
# are that of the commit.
set -euo pipefail
cd "$(dirname "$0")/.."

refuse() {
  printf 'ci/dist.sh: %s\n' "$*" >&2
  exit 1
}

python=$1
top=$(git rev-parse --show-toplevel 2>/dev/null) || refuse "This is no git checkout, so no commit says what is built. Build in a clone."
[[ $top -ef . ]] || refuse "This folder belongs to the repository $top. Build in a clone of clipclean."
changed=$(git status --porcelain)
[[ -z $changed ]] || refuse "The tree is not as the commit has it. Commit, stash or remove this, then build again:"$'\n'"$changed"
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' clipclean/__init__.py)
grep -qF "## [$version]" CHANGELOG.md || refuse "CHANGELOG.md has no section [$version]. Give the unreleased one that name."
unreleased=$(sed -n '/^## \[Unreleased\]/,/^## \[[0-9]/p' CHANGELOG.md | grep -c '^- ' || true)
((unreleased == 0)) || refuse "CHANGELOG.md tells $unreleased changes as unreleased. Give them a version (docs/releasing.md)."
grep -qxF "version: $version" CITATION.cff || refuse "CITATION.cff does not name version $version."

"$python" benchmarks/tables.py --check || refuse "A page is not what the code or the results have. Run make tables, look at it, and commit it."

rm -rf dist
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) "$python" -m build --outdir dist .
if "$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("twine") is None)'; then
  "$python" -m twine check --strict dist/*
else
  echo "ci/dist.sh: twine is not installed, so the metadata were not checked. pip install twine" >&2
fi
(cd dist && sha256sum -- *.tar.gz *.whl >SHA256SUMS && cat SHA256SUMS)
printf 'clipclean %s, built from commit %s\n' "$version" "$(git rev-parse HEAD)"
