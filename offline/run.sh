#!/usr/bin/env bash
# On a machine without a network, in the folder that `make offline-kit` has made:
#
#   bash run.sh [--card h100-80gb] [--params backbone=smollm2-135m,...] [--python python3.11]
#               [--weights NAME] [--work DIR] [--dry-run]
#
# joins and verifies the files, installs from the wheels, runs the GPU tests, the GPU benchmark and
# `kedro run --params ...`, and leaves results.tar.gz (a few MB: reports and logs, no weights).
# A step that fails does not stop the next ones; status.txt in the results says how each ended.
# --dry-run shows the commands and changes nothing.
set -euo pipefail

kit=$(cd "$(dirname "$0")" && pwd)
card=h100-80gb params=dataset=sample_book,backbone=smollm2-135m python=python3 work=$kit/work dry=
while [ $# -gt 0 ]; do
    case $1 in
        --card) card=$2; shift 2 ;;
        --params) params=$2; shift 2 ;;
        --python) python=$2; shift 2 ;;
        --weights) weights=$2; shift 2 ;;
        --work) work=$2; shift 2 ;;
        --dry-run) dry=yes; shift ;;
        *) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit $([ "$1" = --help ] && echo 0 || echo 2) ;;
    esac
done

say() { echo "+ $*"; [ -n "$dry" ] || "$@"; }

# Makes NAME of NAME.part000, NAME.part001, ... and removes the parts.
join() {
    find "$kit" -name '*.part000' -not -path "$work/*" | while read -r first; do
        whole=${first%.part000}
        cat "$whole".part[0-9][0-9][0-9] > "$whole.joining"
        mv "$whole.joining" "$whole"
        rm "$whole".part[0-9][0-9][0-9]
    done
}

# Runs a step, keeps what it says, and goes on whatever becomes of it.
step() {
    name=$1; shift
    echo "+ $*"
    [ -z "$dry" ] || return 0
    started=$SECONDS
    if "$@" > "$work/results/$name.log" 2>&1; then ended=ok; else ended="failed ($?)"; fi
    echo "$name: $ended, $((SECONDS - started)) s" | tee -a "$work/results/status.txt"
}

say join
say cd "$kit"
say sha256sum --check --quiet SHA256SUMS
say mkdir -p "$work/project" "$work/results"
say tar -xzf "$kit/project.tar.gz" -C "$work/project"
if [ -f "$kit/raw.tar.gz" ] || [ -f "$kit/raw.tar.gz.part000" ]; then
    say mkdir -p "$work/raw"
    say tar -xzf "$kit/raw.tar.gz" -C "$work/raw"
    params=$params,raw_dir=$work/raw
fi
if [ -n "${weights:-}" ]; then
    say tar -xzf "$kit/weights-$weights.tar.gz" -C "$work"
    params=$params,rft.backbone.name_or_path=$work/$weights
fi
say cd "$work/project"
# pip, and make with it, find everything in the kit and look nowhere else.
export PIP_NO_INDEX=1 PIP_FIND_LINKS=$kit/wheels HF_HUB_OFFLINE=1
say make setup "PYTHON=$python"
step smollm2 make smollm2
step test-gpu make test-gpu
step bench-gpu make bench-gpu "CARD=$card"
step plan .venv/bin/kedro plan --card "$card" --params "$params"
step run .venv/bin/kedro run --params "$params"
say cd "$work"
[ -n "$dry" ] || find results project/data/08_reporting project/data/07_model_output -type f \
    -not -path '*/.records/*' -not -path '*/.stamps/*' \
    \( -path 'results/*' -o -name '*.json' -o -name '*.html' -o -name training_log.parquet \) \
    > files.txt 2> /dev/null || true # where a step has failed, there is less
say tar -czf "$kit/results.tar.gz" --files-from files.txt
echo "results: $kit/results.tar.gz"
