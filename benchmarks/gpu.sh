#!/usr/bin/env bash
# Everything that needs a GPU, in under eight minutes: the tests marked gpu, then the race of
# `ckd-bench gpu`. Run it on a machine with an NVIDIA GPU, from a checkout:
#
#     benchmarks/gpu.sh [RESULTS [options of ckd-bench gpu]]
#
# gpu-<device>-<date>/ is written into RESULTS (benchmarks/results by default). The script installs
# nothing and uses no network; it names every package that is missing. Environment:
#
#     PYTHON      interpreter that has torch with CUDA and the other packages (python3)
#     PYTHONPATH  further packages
#     LIMIT_S     seconds for everything (470)
#
# Exit code: 3 without Python, a package or a GPU; otherwise that of the race if it failed, and
# else that of the tests, which is 5 if none of them ran.
set -uo pipefail
SECONDS=0
case ${1:-} in
    -h | --help)
        sed -n '/^#!/d; /^[^#]/q; s/^# \{0,1\}//p' -- "$0"
        exit
        ;;
    -*)
        echo "error: $1: the folder for results comes first, options of ckd-bench gpu after it" >&2
        exit 2
        ;;
esac
if [[ ! ${LIMIT_S:-470} =~ ^[1-9][0-9]{1,4}$ ]]; then
    echo "error: LIMIT_S is '$LIMIT_S', expected seconds from 10 to 99999" >&2
    exit 2
fi
results=$(realpath -m -- "${1:-$(dirname -- "$0")/results}")
[ $# -gt 0 ] && shift
cd -- "$(dirname -- "$0")/.." || exit 1
python=${PYTHON:-python3}
limit=${LIMIT_S:-470}
for root in benchmarks calibration export train runtime; do
    PYTHONPATH=$PWD/$root${PYTHONPATH:+:$PYTHONPATH}
done
export PYTHONPATH PIP_NO_INDEX=1

if ! command -v "$python" >&2; then
    echo "error: no interpreter $python; set PYTHON to one that has torch with CUDA" >&2
    exit 3
fi
"$python" -m ckd.benchmarks.gpu.machine "$@" || exit

# Only files with tests marked gpu, because others may need packages that this machine lacks. The
# pytest settings of the checkout name plugins, so the settings that matter are repeated here.
mapfile -t files < <(grep -rlE --include='test_*.py' 'mark\.gpu' tests)
echo "== tests marked gpu: ${#files[@]} files" >&2
log=$(mktemp) && trap 'rm -f -- "$log"' EXIT || exit 1
timeout -k 10 $((limit * 2 / 5)) "$python" -m pytest "${files[@]}" -m gpu -q -rsfE --color=no \
    -o addopts=--import-mode=importlib -o filterwarnings=default -p no:cacheprovider \
    --continue-on-collection-errors 2>&1 | tee -- "$log" >&2
tested=${PIPESTATUS[0]}
if [ "$tested" -eq 0 ] && ! tail -n 1 -- "$log" | grep -qE '(^| )[1-9][0-9]* passed'; then
    echo "== no test ran on the GPU: all were skipped, for the reasons above" >&2
    tested=5  # as pytest ends when it finds no test
fi
[ "$tested" -eq 0 ] || echo "== the tests did not pass (exit code $tested); going on" >&2

left=$((limit - SECONDS - 20))
echo "== race, $left s left" >&2
timeout -k 10 $((left + 15)) "$python" -m ckd.benchmarks.cli gpu --results "$results" \
    --limit "$left" "$@"
raced=$?
echo "== done after $SECONDS s: tests $tested, race $raced" >&2
[ $raced -ne 0 ] && exit $raced
exit "$tested"
