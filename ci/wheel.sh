#!/usr/bin/env bash
# ci/wheel.sh PYTHON WHEEL: does the wheel work, installed alone, outside the source tree?
#
# Dependencies come from the environment of PYTHON; clipclean itself from the wheel, which stands first on the path. WHEEL_AT=FOLDER
# keeps what was installed, for tests that use it.
set -euo pipefail

python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
installed=${WHEEL_AT:-$place/wheel}

"$python" -m pip install --quiet --no-deps --target "$installed" "$2"
cd "$place"
export PYTHONPATH="$installed"
clipclean() { "$python" -m clipclean "$@"; }
test -x "$installed/bin/clipclean"
"$python" -c 'import clipclean, pathlib, sys; sys.exit(not pathlib.Path(clipclean.__file__).is_relative_to(sys.argv[1]))' "$installed"
clipclean --version
clipclean recipes list
clipclean recipes validate cleanclip
clipclean demo --out demo --set train.max_steps=5 --set train.warmup_steps=1 --exit-zero --keep-failed --quiet
test -s demo/report.html && test -s demo/open_clip_model.safetensors
