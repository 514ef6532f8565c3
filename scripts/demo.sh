#!/usr/bin/env bash
# The whole road on simulated tomograms, in a few minutes on two CPU cores: simulate, curate, train briefly, sample, draw.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-demo}

step() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }

step frazil simulate "$out/tomograms" --preset small --count 4 --seed 1 --shape 64,128,128 --voxel-size 20 --types denoised
step frazil curate "$out/tomograms" --out "$out/store" --box 32
step frazil train "$out/store" --out "$out/run" --preset smoke --epochs 12 --max-time 2
step frazil sample "$out/run/bundle" --label all --count 5 --seed 0 --out "$out/samples"
losses=()
[ -f "$out/run/metrics.csv" ] && losses=(--run "$out/run") # a very busy machine may not finish one epoch in time
step frazil figures --store "$out/store" --samples "$out/samples" "${losses[@]}" --out "$out/figures"

cat <<END

Everything above is in $out/ and simulated: the tomograms by frazil's simulator, the samples by a model that trained for
two minutes. It shows the road, not the quality.

  $out/figures/overview.png     real (simulated) boxes and samples of every class
  $out/figures/losses.png       loss curves (Figure 1)
  $out/samples/                 volumes as MRC with manifest.json, particles.star, and a copick project (copick.json)
  $out/run/bundle/              the trained model, for frazil sample
  $out/store/                   the boxes that it learned from
END
