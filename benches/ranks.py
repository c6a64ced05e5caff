"""What a step costs on several ranks: two processes of one thread each beside one of two threads, in turns, on the bundled sample.

    cargo build --release --features mpi
    python3 benches/ranks.py --taper target/release/taper --rounds 7

Each round trains some steps of the study's network in either way, at batch 64 and 512; the time of a step is that of the run's log,
without its first steps. Medians are told, and what rank 0 sent, as its log has it.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

ENVIRONMENT = {
    **os.environ,
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_plm": "isolated",
    "TAPER_LOG": "info",
}
# Until the memory is touched and the loader is ahead.
WARM_UP_STEPS = 10


def step_ms(taper, folder, name, ranks, threads, batch, steps, more):
    launcher = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    command = [*launcher, taper, "train", "--no-tui", "--name", name, "--max-steps", str(steps), "--threads", str(threads)]
    command += ["--set", f"train.batch_size={batch}", "--set", "data.source=sample", *more]
    subprocess.run(command, cwd=folder, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    secs, taken = 0.0, 0
    for line in (Path(folder) / "runs" / name / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "steps_done" and event["first_step"] > WARM_UP_STEPS:
            secs += event["train_secs"]
            taken += len(event["losses"])
    log = (Path(folder) / "runs" / name / "trainer.log").read_text()
    sent = re.search(r"sent (\d+) bytes in (\d+) messages in (\d+) steps", log)
    return 1e3 * secs / taken, sent and [int(number) for number in sent.groups()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--taper", required=True, type=lambda path: str(Path(path).resolve()))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, nargs="*", default=[64, 512])
    parser.add_argument("more", nargs="*", help="further arguments of taper train, after --")
    args = parser.parse_args()
    for batch in args.batch:
        steps = max(args.steps * 64 // batch, 40)
        times, sent = {1: [], 2: []}, None
        for number in range(args.rounds):
            for ranks in ([1, 2], [2, 1])[number % 2]:
                with tempfile.TemporaryDirectory() as folder:
                    ms, told = step_ms(args.taper, folder, "run", ranks, 2 // ranks, batch, steps, args.more)
                times[ranks].append(ms)
                sent = told or sent
        one, two = (statistics.median(times[ranks]) for ranks in (1, 2))
        ratios = sorted(two / one for one, two in zip(times[1], times[2]))
        print(f"batch {batch}: {one:.2f} ms on one rank of two threads, {two:.2f} on two of one: {two / one:.3f}", end="")
        print(f" (of the pairs {statistics.median(ratios):.3f}, {ratios[0]:.3f} to {ratios[-1]:.3f})")
        if sent:
            print(f"  rank 0 sent {sent[0] / sent[2] / 1e6:.3f} MB in {sent[1] / sent[2]:.1f} messages a step")


if __name__ == "__main__":
    main()
