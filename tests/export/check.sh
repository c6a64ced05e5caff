#!/usr/bin/env bash
# Whether the programs that exports are for read them: TensorBoard, pandas and pyarrow, from PyPI, in an environment of their
# own. Trains two small runs on the bundled sample with the given taper: tests/export/check.sh target/debug/taper
set -euo pipefail
taper=$(realpath "$1")
cd "$(dirname "$0")"
here=$PWD
source environment.sh
# TensorBoard still asks setuptools for pkg_resources, which the newest have no more.
environment -r requirements.txt
small=(--no-tui --epochs 2 --set model.channels='[16,16,16]' --set model.hidden=16 --set 'probe.images=[0,3]' --set data.source=sample)
"$taper" train --name plain "${small[@]}" > /dev/null
"$taper" train --name attentive --set model.attention=cbam --set train.batch_size=32 "${small[@]}" > /dev/null
for run in plain attentive; do
    "$taper" export "$run" --tensorboard logs --csv "$run" --json "$run" --parquet "$run" > /dev/null
done
python/bin/python "$here/check.py" .
