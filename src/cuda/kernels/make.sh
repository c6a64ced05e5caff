#!/usr/bin/env bash
# Makes the PTX that ships, kernels.ptx and kernels-bf16.ptx, of the sources here, and notes the hashes of all of them:
#
#   src/cuda/kernels/make.sh             writes them
#   src/cuda/kernels/make.sh --check     fails unless they are what the sources give, to the byte
#
# Either way ptxas assembles them for every generation of cards from 7.5 on: without spilled registers, and within 48 kB of
# shared memory. The compiler is NVRTC 11.8, whose PTX 7.8 every driver of CUDA 11.8 and newer takes. It and ptxas come as
# Python wheels; no card, driver or toolkit is needed. TAPER_WHEELS is a folder that keeps them.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

wheels=${TAPER_WHEELS:-}
if [ -z "$wheels" ]; then
    wheels=$(mktemp -d)
    trap 'rm -rf "$wheels"' EXIT
fi
for wheel in nvidia-cuda-nvrtc-cu11==11.8.89 nvidia-cuda-nvcc-cu12==12.9.86; do
    [ -e "$wheels/$wheel" ] && continue
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$wheels/$wheel.part" "$wheel"
    (cd "$wheels/$wheel.part" && python3 -m zipfile -e ./*.whl . && rm ./*.whl)
    mv "$wheels/$wheel.part" "$wheels/$wheel"
done
nvrtc=$wheels/nvidia-cuda-nvrtc-cu11==11.8.89/nvidia/cuda_nvrtc/lib
ptxas=$wheels/nvidia-cuda-nvcc-cu12==12.9.86/nvidia/cuda_nvcc/bin/ptxas
chmod +x "$ptxas"

compile() { # PTX ARGUMENT...
    local ptx=$1
    shift
    local out=(kernels/kernels.cu "$ptx")
    if [ "$check" = yes ]; then out=(kernels/kernels.cu --check "$ptx"); fi
    LD_LIBRARY_PATH=$nvrtc python3 ../../tests/cuda/ptx.py "${out[@]}" --nvrtc "$nvrtc/libnvrtc.so.11.2" --ptxas "$ptxas" "$@"
}
hashes() {
    sha256sum kernels/*.cu kernels/*.cuh kernels*.ptx
}

check=no
if [ "${1:-}" = --check ]; then check=yes; fi
compile kernels.ptx
compile kernels-bf16.ptx --arch compute_80 --define-macro TAPER_BF16
if [ "$check" = yes ]; then
    diff <(hashes) kernels.sha256
else
    hashes > kernels.sha256
fi
