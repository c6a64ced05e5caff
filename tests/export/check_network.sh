#!/usr/bin/env bash
# Whether exported networks are equal to taper's: under onnxruntime, and as the PyTorch module, from PyPI (large), in an environment
# of their own. Trains a small network of every kind on the bundled sample with the given taper:
# tests/export/check_network.sh target/debug/taper
set -euo pipefail
taper=$(realpath "$1")
cd "$(dirname "$0")"
here=$PWD
source environment.sh
environment onnx==1.19.1 onnxruntime==1.23.2 torch==2.9.1 pillow numpy safetensors
export XDG_CACHE_HOME="$work/cache"
python/bin/python "$here/check_network.py" images
train() { # NAME, and options
    "$taper" train --no-tui --epochs 8 --set train.batch_size=32 --set data.side=36 --data images --name "$@" > /dev/null
    "$taper" export "$1" --onnx "$1.onnx" --torch "$1.torch" > /dev/null
    for image in images/test/*/*.png; do
        "$taper" explain "$1" --image "$image" --images off --raw "$1-$(basename "$image" .png).safetensors" > /dev/null
    done
}
for attention in none se eca spatial cbam non-local; do
    train "$attention" --attention "$attention" --set model.channels='[16,32]' --set model.hidden=16 --set model.pool=flatten
done
train average --set model.channels='[16,16,16]' --set model.hidden=16 --set data.side=40 --set data.resize=centre-crop
train airbench --set model.network=airbench --set model.channels='[16,16]' --set optimizer.learning_rate=1e-3
train grey --set data.channels=1 --set model.channels='[8,8]' --set model.hidden=8
python/bin/python "$here/check_network.py" compare none se eca spatial cbam non-local average airbench grey
