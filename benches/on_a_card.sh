#!/bin/sh
# All that is to be known of taper on a card, for whoever has one: half an hour, and the program.
#
#   benches/on_a_card.sh [OPTIONS]
#     --taper FILE     the program                                       (target/release/taper)
#     --device NAME    cuda or cuda:N                                    (cuda)
#     --data DIR       where CIFAR-10 is; fetched there if it is not     (data)
#     --from WHERE     where it is fetched from, as `taper data fetch`   (official)
#     --python FILE    a Python with PyTorch for CUDA                    (python3)
#     --output DIR     a new folder for what comes of it                 (on-a-card-DATE)
#     --epochs N       of the study                                      (50)
#     --quick          a trial of this script: the sample, and few steps; numbers mean little
#
# It runs nvidia-smi, taper doctor, the self-test and the benchmark in f32 and bf16, PyTorch's steps beside taper's in
# turns (eager, compiled, as a CUDA graph), the self-test under compute-sanitizer, an epoch, and the study. What is not
# there is left out, and said so. A part that fails does not keep the next one from running; the summary tells, and the exit
# code is 1. Leave the machine alone meanwhile.
# Options are split into words below, and have brackets.
set -uf

usage() { sed -n '2,18s/^# \{0,1\}//p' "$0"; }
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
taper=$here/../target/release/taper
device=cuda data=data from=official python=python3 epochs=50 quick='' output=on-a-card-$(date +%Y%m%d-%H%M%S)
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --quick) quick=1; shift; continue ;;
  esac
  [ $# -ge 2 ] || { usage >&2; exit 2; }
  case $1 in
    --taper) taper=$2 ;;
    --device) device=$2 ;;
    --data) data=$2 ;;
    --from) from=$2 ;;
    --python) python=$2 ;;
    --output) output=$2 ;;
    --epochs) epochs=$2 ;;
    *) usage >&2; exit 2 ;;
  esac
  shift 2
done
case $taper in */*) ;; *) taper=$(command -v "$taper") ;; esac
[ -x "$taper" ] || { echo "no program at $taper: cargo build --release, or --taper FILE" >&2; exit 2; }
mkdir "$output" || exit 2
steps=2000 torch_steps=500 rounds=5 training="--set data.source=cifar10 --set data.dir=$data"
[ -z "$quick" ] || { steps=3 torch_steps=3 rounds=2 epochs=2 training="--set data.source=sample --set model.channels=[4,6] --set model.hidden=8 --set data.validation_examples=0"; }
small=
[ -z "$quick" ] || small="--set model.channels=[4,6] --set model.hidden=8 --batch-size 8 --set train.eval_batch_size=8"

summary=$output/summary.txt
failed=0
note() { printf '%s\n' "$*" | tee -a "$summary"; }
# part NAME COMMAND...: its output is in NAME.txt, and a line in the summary.
part() {
  name=$1
  shift
  began=$(date +%s)
  "$@" >"$output/$name.txt" 2>"$output/$name.err"
  code=$?
  [ -s "$output/$name.err" ] || rm -f "$output/$name.err"
  took=$(($(date +%s) - began))
  if [ $code -eq 0 ]; then
    note "ok      $name ($took s)"
  else
    failed=1
    note "FAILED  $name: exit code $code ($took s); $(tail -n 1 "$output/$name.err" 2>/dev/null)"
  fi
  return $code
}
has() { command -v "$1" >/dev/null 2>&1; }

note "$("$taper" --version) on $device, $(date -u +%Y-%m-%dT%H:%M:%SZ)"
if has nvidia-smi; then part nvidia-smi nvidia-smi -q; else note "left out  nvidia-smi is not there"; fi
part doctor "$taper" doctor
precisions="f32 bf16"
for precision in $precisions; do
  part "selftest-$precision" "$taper" selftest --device "$device" --precision "$precision"
  # Both precisions are in a report; the one that is configured is measured with everything else.
  # shellcheck disable=SC2086 # words are meant to split
  part "bench-$precision" "$taper" bench --device "$device" --steps $steps --set train.precision=$precision $small
  # shellcheck disable=SC2086
  part "bench-$precision-json" "$taper" bench --device "$device" --steps $steps --set train.precision=$precision $small --json
done

if "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' >/dev/null 2>&1; then
  round=1
  while [ $round -le $rounds ]; do
    for precision in $precisions; do
      # shellcheck disable=SC2086
      part "turn-$round-taper-$precision" "$taper" bench --device "$device" --steps $steps --set train.precision=$precision $small --json
      for mode in eager compile graph; do
        part "turn-$round-pytorch-$mode-$precision" "$python" "$here/pytorch_step.py" --mode $mode --precision "$precision" --steps $torch_steps
      done
    done
    round=$((round + 1))
  done
else
  note "left out  PyTorch: $python has no torch that sees a card"
fi

if has compute-sanitizer; then
  for tool in memcheck racecheck initcheck; do
    part "sanitizer-$tool" compute-sanitizer --tool $tool --error-exitcode 3 "$taper" selftest --device "$device"
  done
else
  note "left out  compute-sanitizer is not there (it comes with the CUDA toolkit)"
fi

there=$quick
for name in cifar-10-batches-bin cifar-10-batches-py cifar-10-binary.tar.gz cifar-10-python.tar.gz; do
  [ ! -e "$data/$name" ] || there=1
done
if [ -z "$there" ]; then
  part fetch "$taper" data fetch --from "$from" --dir "$data"
fi
train() { # NAME EPOCHS [OPTION...]
  name=$1 of=$2
  shift 2
  # shellcheck disable=SC2086
  part "$name" "$taper" --runs-dir "$output/runs" train --no-tui --name "$name" --device "$device" --epochs "$of" $training "$@"
}
train epoch-f32 1
train epoch-bf16 1 --set train.precision=bf16
train study "$epochs"

note ""
for precision in $precisions; do
  report=$output/selftest-$precision.txt
  [ -s "$report" ] && note "self-test, $precision: $(tail -n 1 "$report")"
done
sed -n '/^the card has/,$p' "$output/bench-f32.txt" | tee -a "$summary"
if [ -s "$output/turn-1-taper-f32.txt" ]; then
  "$python" - "$output" <<'PYTHON' | tee -a "$summary"
import glob, json, os, re, statistics, sys
times = {}
for path in sorted(glob.glob(os.path.join(sys.argv[1], "turn-*.txt"))):
    who = re.match(r"turn-\d+-(.*)\.txt", os.path.basename(path)).group(1)
    try:
        with open(path) as file:
            times.setdefault(who, []).append(json.loads(file.read())["step_ms"])
    except ValueError:
        pass
print("\nmilliseconds a step, medians of rounds (lowest to highest):")
for who, of in sorted(times.items()):
    print(f"  {who:24} {statistics.median(of):9.3f} ({min(of):.3f} to {max(of):.3f})")
PYTHON
fi
for run in epoch-f32 epoch-bf16 study; do
  [ -s "$output/$run.txt" ] && note "$run: $(grep -E '^ *best epoch|^epoch ' "$output/$run.txt" | tail -n 1)"
done
note ""
note "all of it is in $output"
exit $failed
