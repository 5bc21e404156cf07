#!/usr/bin/env bash
# What takes long: `make NAME` runs a function of this file. What is there already is kept, so that a stopped run goes on.
set -euo pipefail

BIN=$(cd "$BIN" && pwd)
IMAGES=${IMAGES:-build/IMagenet/tiny-imagenet-200} # github.com/seshuad/IMagenet
LOWEST=${LOWEST:-python3.11}
HIGHEST=${HIGHEST:-python3.13}

# All of docs/evidence.md, in about three hours on two cores; what is already in build/ is kept. Needs npm.
bench() {
  $BIN/python -m pip install --quiet --editable '.[bench]'
  test -f build/emoji/noto.npz || $BIN/python benchmarks/emoji.py --out build/emoji
  test -f build/clean.pt || $BIN/python benchmarks/train.py --emoji build/emoji --out build/clean.pt --lr 2e-3
  test -f build/poisoned-corner.pt || $BIN/python benchmarks/train.py --emoji build/emoji \
    --out build/poisoned-corner.pt --steps 1000 --lr 2e-3 --seed 7 \
    --poison patch:size=0.1875,place=corner,seed=21 --target violin --rate 0.03
  $BIN/python benchmarks/claim.py --model build/clean.pt --out build/claim --write docs/evidence.md
  $BIN/python benchmarks/claim.py --victims build/poisoned-corner.pt --out build/claim --write docs/evidence.md
  $BIN/python benchmarks/claim.py --model build/clean.pt --out build/claim --seeds 1 --frontier sinusoid \
    --write docs/evidence.md
}

# The zoo of tiny models (about 45 minutes on two idle cores) and the audit's figures on it (about 15, and as much for other seeds); what is there is kept.
bench-audit() {
  $BIN/python -m pip install --quiet --editable '.[bench]'
  test -f build/emoji/noto.npz || $BIN/python benchmarks/emoji.py --out build/emoji
  $BIN/python benchmarks/zoo.py --emoji build/emoji --out build/zoo
  $BIN/python benchmarks/audit.py --photo-zoo build/photo-zoo --zoo build/zoo --out build/audit --store
}

# The zoo of photographs, in about an hour on one idle core that multiplies bfloat16, else in about two; a stopped build goes on. Needs github.com/seshuad/IMagenet in IMAGES.
bench-photos() {
  $BIN/python benchmarks/photos.py --images $IMAGES --out build/photos
  $BIN/python benchmarks/photo_zoo.py --photos build/photos --images $IMAGES --out build/photo-zoo
  mkdir -p benchmarks/results/photo-zoo
  cp build/photo-zoo/*-*-*-*.json benchmarks/results/photo-zoo/
  $BIN/python benchmarks/photo_zoo.py --out benchmarks/results/photo-zoo --write docs/evidence.md
}

# Cleaning on that zoo, by all methods. CAPTIONS, COCO's captions_val2017.json (github.com/Goodman-liyu/InverTune), adds natural captions to screen.
bench-cleaning-photos() {
  bench-photos
  $BIN/python benchmarks/label_free.py --photos build/photos --zoo build/photo-zoo --out benchmarks/results/label-free.json
  $BIN/python benchmarks/photo_zoo.py --photos build/photos --images $IMAGES --out build/photo-zoo-long --longer 1500
  $BIN/python benchmarks/photo_cleaning.py --photos build/photos --images $IMAGES --zoo build/photo-zoo-long --half report \
    --out build/photo-cleaning --write docs/evidence.md --methods cleanclip@few \
    'mmcl@tiny:train.batch_size=64,train.lr=2.4e-3,train.moves=image tower,loss.preserve_weight=2,augment.least_part=0.6,augment.mirrored=0.5' \
    par@tiny unlearn@tiny released fine-pruning clp invertune default
  $BIN/python benchmarks/screening_photos.py --photos build/photos --images $IMAGES --zoo build/photo-zoo --out build/screening-photos \
    ${CAPTIONS:+--captions $CAPTIONS} --only report-resnet-10-planted-patch-1 report-resnet-10-planted-badnets-1 \
    report-resnet-50-planted-stripes-1 report-resnet-50-planted-text-1 report-resnet-10-planted-dct-1 report-vit-10-planted-sinusoid-1
  mkdir -p benchmarks/results/screening-photos && cp build/screening-photos/*.json benchmarks/results/screening-photos/
  $BIN/python benchmarks/screening_photos.py --out benchmarks/results/screening-photos --table --write docs/evidence.md
}

# The audit on that zoo, in four columns: alone, beside a clean model, beside a file of references, beside the base; some two hours on two
# cores, or one with bfloat16; what is there is kept.
bench-audit-photos() {
  bench-photos
  $BIN/python benchmarks/audit.py --photo-zoo build/photo-zoo --out build/audit --half report --statistics --write docs/evidence.md
}

# What cleaning does to the zoo's victims, method by method and by auto: some six hours on two idle cores; what is there is kept.
bench-cleaning() {
  bench-audit
  $BIN/python benchmarks/auto.py --zoo build/zoo --out build/auto
  $BIN/python benchmarks/cleaning.py --zoo build/zoo --out build/cleaning
  cp build/auto/*.json benchmarks/results/auto/
  cp build/cleaning/*.json benchmarks/results/cleaning/
  tables
  $BIN/python benchmarks/screening.py --zoo build/zoo --out build/screening \
    --sanitize report-resnet-planted-3-patch --recipes cleanclip@tiny unlearn@tiny --write docs/evidence.md
}

# The tables and the drawing of what was measured, from the numbers in benchmarks/results.
tables() {
  $BIN/python benchmarks/auto.py --out benchmarks/results/auto --write docs/evidence.md
  $BIN/python benchmarks/cleaning.py --out benchmarks/results/cleaning --auto benchmarks/results/auto --table --write docs/evidence.md
  $BIN/python benchmarks/photo_zoo.py --out benchmarks/results/photo-zoo --write docs/evidence.md
  $BIN/python benchmarks/label_free.py --out benchmarks/results/label-free.json --write docs/evidence.md
  $BIN/python benchmarks/photo_cleaning.py --out benchmarks/results/photo-cleaning --half report --table --write docs/evidence.md
  $BIN/python benchmarks/screening_photos.py --out benchmarks/results/screening-photos --table --write docs/evidence.md
  $BIN/python benchmarks/frontier.py --cleaning benchmarks/results/cleaning --auto benchmarks/results/auto --out docs/frontier.svg
  $BIN/python benchmarks/photo_cleaning.py --out benchmarks/results/usual --half report --table --about usual --write docs/evidence.md
  $BIN/python benchmarks/frontier.py --cleaning benchmarks/results/photo-cleaning --out docs/frontier-photos.svg
  $BIN/python benchmarks/frontier.py --cleaning benchmarks/results/usual --out docs/frontier-usual.svg
}

# The tables of docs/running.md and benchmarks/results/running.md, in under an hour on two idle cores; and on a GPU where there is one.
bench-speed() {
  $BIN/python benchmarks/speed.py --out build/speed --write docs/running.md
  $BIN/python benchmarks/speed.py --out build/speed --compile --write benchmarks/results/running.md
  $BIN/python benchmarks/loader.py --out build/loader --write benchmarks/results/running.md
  $BIN/python benchmarks/audit_cost.py --write benchmarks/results/running.md
  $BIN/python benchmarks/scale.py --write benchmarks/results/running.md
  $BIN/python benchmarks/growth.py --write benchmarks/results/running.md
}

# Ten million mutated files for every reader of files from outside, for at most FUZZ_SECONDS (an hour).
fuzz() {
  nice -n 19 $BIN/python benchmarks/fuzz.py --seconds ${FUZZ_SECONDS:-3600} --out build/fuzz.json --write benchmarks/results/safety.md
}

# What docs/tested.md says of the report's page: accessibility in four views, and printed length. Needs npm, and Chromium on the PATH or as CHROMIUM=FILE.
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
  $BIN/python benchmarks/blocks.py docs/tested.md pages build/pages/result/table.md
}

# What docs/tested.md says of versions: the wheel with the lowest and the highest that pyproject.toml admits. Two environments of several gigabytes, one after the other.
versions() {
  $PYTHON -m venv build/tools
  build/tools/bin/python -m pip install --quiet build twine
  build/tools/bin/python benchmarks/versions.py lowest --python $LOWEST --out build/versions
  build/tools/bin/python benchmarks/versions.py highest --python $HIGHEST --out build/versions --write docs/tested.md
}

"$1"
