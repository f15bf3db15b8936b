#!/bin/sh
# Makes the embedded bundle of a study's winner, and everything that depends on it:
#
#     benchmarks/bundle.sh STUDY/WINNER/all ISIC2017 [NOTES.md]
#
# `ckd-train study --winner` made the first folder. Each step proves what it wrote, or fails and stops the
# script. One of them trains the INT8 form and takes hours; it may be interrupted, and the same command goes
# on. The bundle is left in build/bundle/ckdnet-mobile, for a person to look at its card.
set -eu

if [ ! -f "${1:-}/recipe.json" ] || [ ! -d "${2:-}" ]; then
    echo "usage: benchmarks/bundle.sh STUDY/WINNER/all ISIC2017 [NOTES.md]" >&2
    exit 2
fi
run=$1
data=$2
notes=${3:-/dev/null}
name=ckdnet-mobile
out=build/bundle
today=runtime/ckd/runtime/bundles/$name
licence="weights Apache-2.0; ISIC 2017 images CC-0; ImageNet features Apache-2.0"
bin=${CKD_BIN:-.venv/bin}

mkdir -p "$out"
rm -rf "$out"/first "$out"/plain "$out"/float "$out"/placed.json "$out"/int8 "$out"/shrunk "$out"/sections "$out"/damage "$out/$name"

# What it scores on the official validation images, once, and what it says otherwise than today's bundle.
"$bin"/ckd-train evaluate "$run" --data "$data" --split val
"$bin"/ckd-export bundle "$run" --out "$out/first" --name "$name"
"$bin"/ckd-bench accuracy "$today" "$out/first" --data "$data" --changes "$out"
cat "$notes" "$out/changes.md" > "$out/notes.md"
"$bin"/ckd-export bundle "$run" --out "$out/plain" --name "$name" \
    --precision fp32,fp16 --licence "$licence" --notes "$out/notes.md"

# What is fitted on the answers of the winner's folds: when there is no finding, how masks are cleaned up,
# and all that decides. It comes first, so that INT8 and smaller files are judged by decisions and referrals.
"$bin"/ckd-train sections "$(dirname "$run")" --run "$run" --data "$data" --out "$out/sections"
"$bin"/ckd-train evaluate "$run" --data "$data" --split val --corruptions --sections "$out/sections" \
    --out "$out/damage"
cp "$out/damage/corruptions.md" "$out/sections"
"$bin"/ckd-export sections "$out/plain" --from "$out/sections" --out "$out/float"

# INT8: the tensors to round, training in that form with the float networks as teachers, the files.
"$bin"/ckd-calibrate placement --bundle "$out/float" --out "$out/placed.json"
"$bin"/ckd-train qat "$run" --placement "$out/placed.json" --data "$data" --out "$run/../qat"
"$bin"/ckd-calibrate quantize --bundle "$out/float" --learnt "$run/../qat" --data "$data" \
    --no-tensorrt --out "$out/int8"

# Float32 files of half the size, and the proof of the whole.
"$bin"/ckd-export shrink "$out/int8" --data "$data" --out "$out/shrunk"

# Once more, for the temperature of INT8, the verdicts of its cases, and the check on validation images.
"$bin"/ckd-export sections "$out/shrunk" --from "$out/sections" --data "$data" --out "$out/$name"
"$bin"/ckd-export verify "$out/$name"
bytes=$(find "$out/$name" -type f -exec cat {} + | wc -c)
if [ "$bytes" -gt 36000000 ]; then
    echo "$out/$name: $bytes bytes, expected 36000000 at most for a device" >&2
    exit 4
fi
echo "Not slower than today's? ckd-bench compare --bundle $today --bundle $out/$name"
echo "Look at $out/$name/model_card.md; to ship it: rm -r $today && cp -r $out/$name $today"
