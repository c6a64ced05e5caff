#!/bin/sh
# Tests the stand-in for libcuda.so.1 itself: what is right passes in every order of threads, what is wrong is caught.
# Needs g++ with AddressSanitizer's library, and nothing else; writes into a temporary folder only.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
cxx=${CXX:-g++}
for name in $(env | sed -n 's/^\(TAPER_TWIN_[A-Z_]*\)=.*/\1/p'); do unset "$name"; done

# What NVRTC would write, without bodies: the stand-in reads only these headers.
cat >"$work/test.ptx" <<'PTX'
.version 7.8
.target sm_75
.address_size 64
.visible .global .align 4 .u32 launches_seen;
.visible .entry block_sum(
	.param .u32 block_sum_param_0,
	.param .u64 block_sum_param_1,
	.param .u64 block_sum_param_2
)
{
	.shared .align 4 .b8 warps[128];
	ret;
}
.visible .entry neighbours_right(.param .u64 a, .param .u64 b) { ret; }
.visible .entry neighbours_race(.param .u64 a, .param .u64 b) { ret; }
.visible .entry past_end(.param .u32 a, .param .u64 b) { ret; }
.visible .entry shared_past_end(.param .u64 a) { ret; }
.visible .entry shared_index_past_end(.param .u64 a) { ret; }
.visible .entry shared_unwritten(.param .u64 a) { ret; }
.visible .entry lost_barrier(.param .u64 a) { ret; }
.visible .entry lost_lane(.param .u64 a) { ret; }
.visible .entry mma_tile(.param .u64 a, .param .u64 b, .param .u64 c) { ret; }
.visible .entry exchanges(.param .u64 a) { ret; }
.visible .entry step(
	.param .u64 step_param_0,
	.param .u32 step_param_1
)
.maxntid 128, 1, 1
{
	ret;
}
PTX
sed 's/^\.visible \.entry step/.visible .entry stride/' "$work/test.ptx" >"$work/missing.ptx"
sed 's/\.param \.u32 step_param_1/.param .u64 step_param_1/' "$work/test.ptx" >"$work/differs.ptx"

sanitizers="-fsanitize=address,undefined -fno-sanitize=object-size -fno-sanitize-recover=undefined -g"
"$here/build.sh" "$work/plain" "$here/twin_test.cu" "$work/test.ptx" &
plain=$!
# shellcheck disable=SC2086 # words are meant to split
"$here/build.sh" "$work/sanitized" "$here/twin_test.cu" "$work/test.ptx" $sanitizers
"$cxx" -std=c++17 -O1 -Wall -Wextra -pthread "$here/twin_test.cpp" -o "$work/twin_test" -ldl
wait $plain

failures=0
# check NAME [VARIABLE=VALUE...] -- TEST [TEXT THAT STDERR MUST SHOW]
check() {
  name=$1
  shift
  settings=
  while [ "$1" != -- ]; do settings="$settings $1"; shift; done
  # shellcheck disable=SC2086
  if env $settings timeout 60 "$work/twin_test" "$work/${build:-plain}/libcuda.so.1" "$work/${ptx:-test.ptx}" "$2" 2>"$work/stderr"; then code=0; else code=$?; fi
  if [ "$code" -ne "${expected:-0}" ] || { [ $# -ge 3 ] && ! grep -q -- "$3" "$work/stderr"; }; then
    echo "FAILED  $name (exit status $code)"
    sed 's/^/        /' "$work/stderr"
    failures=$((failures + 1))
  else
    echo "ok      $name"
  fi
}

for order in ascending descending shuffled; do
  check "sums, $order" TAPER_TWIN_ORDER=$order -- sums
  check "sums on one thread, $order" TAPER_TWIN_ORDER=$order TAPER_TWIN_THREADS=1 -- sums
  check "a barrier kept, $order" TAPER_TWIN_ORDER=$order -- barrier_kept
  check "a barrier removed, $order" TAPER_TWIN_ORDER=$order -- barrier_removed
  check "exchanges, $order" TAPER_TWIN_ORDER=$order -- exchanges
  check "tensor-core tile, $order" TAPER_TWIN_ORDER=$order -- mma
done
check "a barrier that threads never reach" -- lost_barrier "kernel lost_barrier, block (0, 0, 0): a barrier that 32 threads wait at and 32 never reach"
check "a lane that never comes" -- lost_lane "kernel lost_lane, .*: 31 threads wait in a warp function"
check "a write past the end" -- past_end "kernel past_end wrote past the end of an allocation of 400 bytes"
check "shared memory read before it is written" -- shared_unwritten
check "captures and graphs" -- capture
check "streams, events, mapped memory" -- streams
check "streams with late work" TAPER_TWIN_DELAY=2000 -- streams
check "memory" TAPER_TWIN_MEMORY=1000000 -- memory "cuMemcpyDtoH_v2: 4 bytes from byte 398 of an allocation of 400 bytes"
check "freed memory reads as NaN" -- freed_read
check "a write to freed memory" -- freed_write "freed memory was written to (an allocation of 100 bytes)"
check "calls that fail" TAPER_TWIN_FAIL=cuMemAllocAsync:2:2,cuGraphLaunch:2+,cuEventCreate -- failing
check "a lost device" TAPER_TWIN_LOST_AFTER=2 TAPER_TWIN_REPORT="$work/report.json" -- losing
check "no card" TAPER_TWIN_CARDS=0 TAPER_TWIN_REPORT="$work/none.json" -- no_card
check "an old driver and card" TAPER_TWIN_DRIVER_VERSION=11070 TAPER_TWIN_CAPABILITY=7.0 -- old_driver
ptx=missing.ptx
check "PTX with another kernel" -- other_ptx "kernel stride of the PTX has no host twin"
ptx=differs.ptx
check "PTX with another parameter" -- other_ptx "kernel step has parameters of 8 8 bytes in the PTX and of 8 4 in its host twin"
ptx=test.ptx

# Nine waits: each of four downloads waits once for its copy into memory that is not pinned, and once by its own call.
check "a report" TAPER_TWIN_REPORT="$work/report.json" -- sums
for field in '"kernel_launches": 5' '"graph_launches": 0' '"graph_nodes": \[\]' '"waits": 9' '"bytes_to_host": 592' '"copies_to_host": 4' \
  '"bytes_to_device": 149024' '"copies_to_device": 2' '"allocations": 4' '"frees": 0' '"live_allocations": 4' \
  '"kernels": {"block_sum": 4, "neighbours_right": 1}'; do
  grep -q -- "$field" "$work/report.json" || { echo "FAILED  the report lacks $field"; cat "$work/report.json"; failures=$((failures + 1)); }
done
[ ! -e "$work/none.json" ] || { echo "FAILED  a report without a card"; failures=$((failures + 1)); }

# Under the sanitizers. The program is not built with them, as a Rust program is not.
build=sanitized
asan="LD_PRELOAD=$("$cxx" -print-file-name=libasan.so):$("$cxx" -print-file-name=libubsan.so) ASAN_OPTIONS=detect_leaks=0"
for order in ascending descending shuffled; do
  # shellcheck disable=SC2086
  check "sanitized sums, $order" $asan TAPER_TWIN_ORDER=$order -- sums
done
# shellcheck disable=SC2086
{
  check "sanitized exchanges" $asan -- exchanges
  check "sanitized tile" $asan -- mma
  check "sanitized streams" $asan -- streams
  check "sanitized captures" $asan -- capture
  check "sanitized lost barrier" $asan -- lost_barrier "kernel lost_barrier"
  expected=1
  check "a write past the end, by name" $asan -- past_end "in past_end .*twin_test.cu:"
  check "a write past the end of shared memory, by name" $asan -- shared_past_end "global variable 'values' defined in '.*twin_test.cu:"
  check "an index past the end of shared memory, by line" $asan -- shared_index_past_end "twin_test.cu:.* index 64 out of bounds"
  check "a read of freed memory, by name" $asan -- freed_read "in block_sum .*twin_test.cu:"
}
[ "$failures" -eq 0 ] || { echo "$failures failed"; exit 1; }
echo "all passed"
