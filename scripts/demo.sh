#!/usr/bin/env bash
# A labeled tomogram, and labeled volumes of six particles, from the bundled pretrained model; the volumes are evaluated against simulated
# tomograms that it has not seen.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-demo}

step() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }

step frazil compose --shape 96,224,224 --seed 0 --out "$out/composed" --mrc
step frazil sample --label all --count 5 --seed 0 --neighbours typical --out "$out/samples"
step frazil simulate --out "$out/tomograms" --count 2 --seed 1 --shape 184,320,320 --workers 2
step frazil curate "$out/tomograms" --out "$out/reference" --box 64 --max-padding 0 --validation-run SIM_001
step frazil evaluate "$out/reference" "$out/samples" --out "$out/evaluation" --name pretrained --only physics,memorisation
step frazil figures --store "$out/reference" --samples "$out/samples" --out "$out/figures"

cat <<END

Everything above is in $out/ and simulated: the samples come from a model trained on simulated tomograms only, and they are
compared with simulated boxes. Five samples per class are few; the report says where that is too few to decide. Without --only, evaluate
asks more.

  $out/composed/                a tomogram of which every particle is known: a copick project with picks, orientations, and masks; mrc/
  $out/evaluation/report.html   the verdicts, curves, pictures, and a 3D viewer; opens from disk
  $out/figures/overview.png     simulated boxes and samples of every class
  $out/samples/                 volumes as MRC files with manifest.json, particles.star, and a copick project (copick.json)
  $out/reference/               the boxes they are compared with

Next, with your own tomograms:
frazil curate PROJECT --whole --out tomograms; frazil train tomograms --from pretrained --out run; frazil compose run --out composed
END
