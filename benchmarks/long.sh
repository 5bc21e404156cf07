#!/usr/bin/env bash
# What takes long: `make NAME` runs a function of this file. What is there already is kept, so that a stopped run goes on.
# By hand: mutants.py says which share of small faults the tests notice.
set -euo pipefail

BIN=$(cd "$BIN" && pwd)
IMAGES=${IMAGES:-build/IMagenet/tiny-imagenet-200} # github.com/seshuad/IMagenet
LOWEST=${LOWEST:-python3.11}
HIGHEST=${HIGHEST:-python3.13}

# The zoo of photographs, and the clean models of drawn classes: two hours on one idle core that multiplies bfloat16. Needs IMAGES.
bench-photos() {
  $BIN/python benchmarks/photo_zoo.py --photos build/photos --images $IMAGES --out build/photo-zoo --keep
  $BIN/python benchmarks/photo_zoo.py --photos build/photos --images $IMAGES --out build/drawn --plan drawn
}

# The audit on them: alone, beside a clean model, beside a file of references, beside the base; some two hours on two cores.
bench-audit() {
  bench-photos
  for plan in lineages longer; do
    $BIN/python benchmarks/photo_zoo.py --photos build/photos --images $IMAGES --out build/$plan --plan $plan
  done
  $BIN/python benchmarks/audit.py --photo-zoo build/{lineages,longer,drawn} --out build/audit --half report --keep
  tables
}

# Cleaning by all methods, of photographs and of the usual kind. CAPTIONS, COCO's captions_val2017.json (github.com/Goodman-liyu/InverTune), adds natural captions to screen.
bench-cleaning() {
  bench-photos
  local all="--photos build/photos --images $IMAGES"
  $BIN/python benchmarks/photo_zoo.py $all --out build/photo-zoo-long --plan longer
  $BIN/python benchmarks/photo_cleaning.py $all --zoo build/photo-zoo-long --half report --out benchmarks/results/photo-cleaning \
    --methods cleanclip mmcl par unlearn released fine-pruning clp invertune supervised
  $BIN/python benchmarks/photo_zoo.py $all --out build/usual --plan usual --only planted planted-blended
  $BIN/python benchmarks/photo_cleaning.py $all --zoo build/usual --half report --out benchmarks/results/usual \
    --methods cleanclip mmcl par
  $BIN/python benchmarks/screening_photos.py $all --zoo build/photo-zoo --out benchmarks/results/screening-photos \
    ${CAPTIONS:+--captions $CAPTIONS} --only report-resnet-10-planted-{patch,badnets,dct}-1 report-resnet-50-planted-{stripes,text}-1 \
    report-vit-10-planted-sinusoid-1
  tables
}

# Everything that make tables makes tables of, but for what its own commands measure; a day and more.
bench() {
  bench-audit
  bench-cleaning
  bench-speed
}

# What is missing of all measurements, in hours to days: `python benchmarks/evidence.py` lists each, its state and its time.
evidence() {
  $BIN/python benchmarks/evidence.py --run --images $IMAGES
  tables
}

# Every measured table of the pages, and the drawing, of the numbers in benchmarks/results.
tables() {
  $BIN/python benchmarks/tables.py
}

# The step's table in docs/running.md, in half an hour on two idle cores; and on a GPU where there is one.
bench-speed() {
  $BIN/python benchmarks/speed.py --out build/speed --write docs/running.md
}

# Ten million mutated files for every reader of files from outside, for at most FUZZ_SECONDS (an hour).
fuzz() {
  nice -n 19 $BIN/python benchmarks/fuzz.py --seconds ${FUZZ_SECONDS:-3600} --out build/fuzz.json --write benchmarks/results/fuzz.csv
}

# What benchmarks/results/tables.md says of the report's page: accessibility in four views, and printed length. Needs npm, and Chromium on the PATH or as CHROMIUM=FILE.
pages() {
  mkdir -p build/pages
  cp ci/pages/check.mjs ci/pages/package.json build/pages/
  (cd build/pages && npm install --no-audit --no-fund --ignore-scripts --no-save)
  test -f build/pages/files/backdoored.pt || $BIN/clipclean demo --unpack build/pages/files
  test -f build/pages/demo/report.html || $BIN/clipclean demo --out build/pages/demo
  mkdir -p build/pages/audit
  (cd build/pages && (test -f audit/report.html || $BIN/clipclean audit files/backdoored.pt --effort quick --exit-zero \
    --arch files/tiny.json --classes files/classes.txt --templates files/templates.txt --report html=audit/report.html))
  node build/pages/check.mjs --out build/pages/result build/pages/demo/report.html build/pages/audit/report.html
  $BIN/python benchmarks/common.py benchmarks/results/tables.md pages build/pages/result/table.csv
}

# What is told of versions: the wheel with the lowest and the highest that pyproject.toml admits, checked by twine, installed into a
# fresh environment, and used there as a user does. Two environments of several gigabytes, one after the other.
versions() {
  $PYTHON -m venv build/tools
  build/tools/bin/python -m pip install --quiet build twine
  rm -rf build/versions
  build/tools/bin/python -m build --outdir build/versions/dist .
  build/tools/bin/python -m twine check --strict build/versions/dist/*
  with-ends lowest "$LOWEST"
  with-ends highest "$HIGHEST"
  { echo ',lowest,highest'; paste -d'|' build/versions/{lowest,highest}.txt | sed -E 's/^([^|]*)\|([^|]*)\|[^|]*\|(.*)$/"\1",\2,\3/'; } \
    > build/versions/table.csv
  $BIN/python benchmarks/common.py benchmarks/results/tables.md versions build/versions/table.csv
}

# END PYTHON: writes build/versions/END.txt, a line NAME|VALUE for each row of the table. `lowest` pins each dependency to the first
# version of its range; what the dependencies themselves depend on, pip chooses.
with-ends() {
  local at=$PWD/build/versions/$1
  mkdir -p "$at/home"
  "$2" -m venv "$at/environment"
  touch "$at/constraints.txt"
  [ "$1" != lowest ] || sed -nE '/^dependencies = /,/^\]/s/^ *"([^">]+)>=([0-9.]+).*/\1==\2/p; /^(maps|onnx|parquet) = /s/.*\["([^">]+)>=([0-9.]+).*/\1==\2/p' pyproject.toml > "$at/constraints.txt"
  "$at/environment/bin/python" -m pip install --quiet --no-compile --constraint "$at/constraints.txt" "$(echo build/versions/dist/*.whl)[all]"
  "$at/environment/bin/python" -m pip check
  {
    echo "Python|$("$at/environment/bin/python" -c 'import platform; print(platform.python_version())')"
    for name in torch torchvision open_clip_torch numpy onnx onnxruntime onnxscript pyarrow scikit-learn pydantic; do
      echo "$name|$("$at/environment/bin/python" -c 'import sys, importlib.metadata as m; print(m.version(sys.argv[1]))' $name)"
    done
    local files='--classes files/classes.txt --templates files/templates.txt --arch files/tiny.json'
    used doctor 0 doctor
    used demo 0 demo --out demo
    used "demo's files" 0 demo --unpack files
    used audit 1 audit files/backdoored.pt --effort quick --report report.sarif $files
    used 'sanitize, both exports' 4 sanitize files/backdoored.pt -d files/clean.tar -o cleaned -f open_clip -f onnx --recipe cleanclip \
      --epochs 1 --no-panel --max-accuracy-loss 0.5 $files
    used export 0 export cleaned -f onnx --fp16 -o halved
    used verify 0 verify cleaned
    echo "warnings of libraries|$(grep -E '\w*Warning\b|Traceback' "$at/log.txt" | sort -u | wc -l)"
    echo "date|$(date -I)"
  } > "$at.txt"
  rm -rf "$at/environment"
}

# NAME CODE WORDS...: runs clipclean in the environment of with-ends, and stops unless it ends with CODE; tells its seconds.
used() {
  local begun=$SECONDS code=0 name=$1 right=$2
  shift 2
  echo "\$ clipclean $*" >> "$at/log.txt"
  # shellcheck disable=SC2046 # two words for each variable
  (cd "$at" && env $(compgen -e | sed -nE 's/^(CLIPCLEAN_.*|PYTHONPATH)$/-u \1/p') HOME="$at/home" HF_HUB_OFFLINE=1 \
    environment/bin/clipclean "$@" >> log.txt 2>&1) || code=$?
  [ $code = "$right" ] || { echo "clipclean $*: exit code $code and not $right; see $at/log.txt" >&2; exit 1; }
  echo "$name|$((SECONDS - begun)) s"
}

"$1"
