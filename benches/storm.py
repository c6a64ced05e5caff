"""A storm of clients on a trainer's control socket: what it costs the training, and whether a good client is obeyed.

    cargo build --release
    python3 benches/storm.py                  # five minutes; needs no network and no data
    python3 benches/storm.py --taper other/taper --rounds 4

Starts a run of the bundled sample and lets it train in windows, in turns: calm, with a storm on a decoy, and with the
storm on its own socket; prints the medians of the windows, the lowest and highest, and the ratio of the last two. In each
window one good client asks for a checkpoint.

A thousand clients are at it, each on a thread of its own: random bytes, half a line, a line without end, byte by byte,
commands whose answers are not read, silence, and some that leave at once. Half of them wait when the socket's queue is
full, as any blocking connect does, and half come again.

The trainer, whose one compute thread and thread of the socket share a core, is bound to that core, and the clients to the
others. What a thousand clients take from the machine all the same (caches, the other half of a core, room for others) they
take in the storm on the decoy too, a socket of this script's that attends to as many: so the ratio says what the trainer's
socket takes from its training. With a single core there is no such thing to measure.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).resolve().parents[1]
RUN = "storm"
SETTLE_SECS = 3  # until the storm is at its full strength, or has passed
AGAIN_SECS = 0.3  # until a client comes again
ENDLESS = b"x" * (1 << 16)
RESUME = b'{"version":1,"command":{"name":"resume"}}\n'


class CannotMeasure(Exception):
    """Says what to do about it."""


# The clients


def garbage(stream):
    stream.sendall(random.randbytes(1 << 14))


def half_a_line(stream):
    stream.sendall(RESUME[:20])


def line_without_end(stream):
    for _ in range(1 << 14):
        stream.sendall(ENDLESS)


def byte_by_byte(stream):
    for _ in range(200):
        stream.sendall(b" ")
        time.sleep(0.001)


def unread_answers(stream):
    stream.sendall(RESUME * 1000)


def silence(stream):
    time.sleep(1)


def goodbye(stream):
    pass


KINDS = (garbage, half_a_line, line_without_end, byte_by_byte, unread_answers, silence, goodbye)


class Storm:
    def __init__(self, path, clients):
        self.path, self.clients = path, clients
        self.connections = 0
        self.over = threading.Event()
        self.threads = []

    def client(self, number):
        misbehave = KINDS[number % len(KINDS)]
        while not self.over.is_set():
            try:
                with socket.socket(socket.AF_UNIX) as stream:
                    # Without a time limit, connecting waits in a full queue; with one it fails there.
                    stream.settimeout(None if number % 2 else 1)
                    stream.connect(self.path)
                    self.connections += 1
                    stream.settimeout(1)
                    misbehave(stream)
                    time.sleep(AGAIN_SECS)
            except OSError:
                time.sleep(AGAIN_SECS)

    def __enter__(self):
        self.threads = [threading.Thread(target=self.client, args=(number,)) for number in range(self.clients)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()


class Decoy:
    """Accepts as many a second as a trainer does, and keeps as many."""

    def __init__(self, path):
        self.path = str(path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(64)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        places = []
        while True:
            stream, _ = self.listener.accept()
            places.append(stream)
            if len(places) > 16:
                places.pop(0).close()
            time.sleep(0.01)


# The trainer


class Run:
    def __init__(self, taper, folder, core):
        self.taper, self.folder = taper, folder
        self.path = folder / "runs" / RUN
        threads = ["--set", "run.threads=1", "--set", "data.source=sample"]
        quiet = ["--set", "probe.every=0", "--set", "checkpoint.every_steps=0"]
        self.command("train", "--detach", "--name", RUN, "--epochs", "1000000", *threads, *quiet, core=core)
        control = json.loads((self.path / "control").read_text())
        self.pid, self.socket = control["pid"], control["socket"]

    def command(self, *args, core=None):
        def bind():
            if core is not None:
                os.sched_setaffinity(0, {core})

        done = subprocess.run([self.taper, *args], cwd=self.folder, capture_output=True, text=True, preexec_fn=bind)
        if done.returncode != 0:
            raise CannotMeasure(f"taper {' '.join(args)}: {done.stderr.strip()}")

    def steps_between(self, start, end):
        """Optimizer steps, and the seconds that they took."""
        steps = train_secs = 0
        with open(self.path / "events.jsonl") as log:
            for line in log:
                if '"steps_done"' not in line:
                    continue
                event = json.loads(line)
                if start <= event["time_ms"] / 1000 < end:
                    steps += len(event["losses"])
                    train_secs += event["train_secs"]
        if steps == 0:
            raise CannotMeasure("no step was taken within a window: choose longer ones with --window")
        return steps, train_secs

    def cpu_secs(self):
        """Of all threads."""
        return cpu_secs(f"/proc/{self.pid}/stat")

    def socket_cpu_secs(self):
        """Of the main thread, which serves the socket and does nothing else."""
        return cpu_secs(f"/proc/{self.pid}/task/{self.pid}/stat")

    def resident_mb(self):
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_secs(stat):
    fields = Path(stat).read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# Measuring


@dataclass
class Windows:
    step_ms: list = field(default_factory=list)
    step_cpu_ms: list = field(default_factory=list)
    steps_a_sec: list = field(default_factory=list)
    socket_percent: list = field(default_factory=list)
    good_secs: list = field(default_factory=list)
    resident_mb: list = field(default_factory=list)
    connections: list = field(default_factory=list)  # a second


def measure_window(run, secs, windows):
    start, cpu, socket_cpu = time.time(), run.cpu_secs(), run.socket_cpu_secs()
    asked = time.monotonic()
    run.command("checkpoint", RUN)
    windows.good_secs.append(time.monotonic() - asked)
    time.sleep(max(0, start + secs - time.time()))
    end = time.time()
    cpu, socket_cpu = run.cpu_secs() - cpu, run.socket_cpu_secs() - socket_cpu
    steps, train_secs = run.steps_between(start, end)
    windows.step_ms.append(1000 * train_secs / steps)
    windows.step_cpu_ms.append(1000 * cpu / steps)
    windows.steps_a_sec.append(steps / (end - start))
    windows.socket_percent.append(100 * socket_cpu / (end - start))
    windows.resident_mb.append(run.resident_mb())


def measure(run, args):
    decoy = Decoy(run.folder / "decoy")
    calm, decoyed, stormy = Windows(), Windows(), Windows()
    time.sleep(SETTLE_SECS)
    for number in range(args.rounds):
        measure_window(run, args.window, calm)
        for path, windows in [(decoy.path, decoyed), (run.socket, stormy)]:
            with Storm(path, args.clients) as storm:
                time.sleep(SETTLE_SECS)
                before, started = storm.connections, time.time()
                measure_window(run, args.window, windows)
                windows.connections.append((storm.connections - before) / (time.time() - started))
            time.sleep(SETTLE_SECS)
        ratio = stormy.step_ms[-1] / decoyed.step_ms[-1]
        print(f"round {number + 1} of {args.rounds}: {ratio:.3f}", file=sys.stderr, flush=True)
    return calm, decoyed, stormy


def row(title, all_windows, name, digits):
    def cell(numbers):
        return f"{median(numbers):.{digits}f} ({min(numbers):.{digits}f}–{max(numbers):.{digits}f})" if numbers else ""

    calm, decoyed, stormy = (getattr(windows, name) for windows in all_windows)
    ratio = f"{median(stormy) / median(decoyed):.3f}" if median(decoyed) > 0 else ""
    return f"| {title} | {cell(calm)} | {cell(decoyed)} | {cell(stormy)} | {ratio} |"


def table(windows, args):
    return "\n".join(
        [
            f"| {args.clients} clients | calm | on a decoy | on the trainer | ratio |",
            "|---|---:|---:|---:|---:|",
            row("training step (ms)", windows, "step_ms", 2),
            row("CPU time of the trainer for a step (ms)", windows, "step_cpu_ms", 2),
            row("steps a second", windows, "steps_a_sec", 1),
            row("the socket's thread (% of a core)", windows, "socket_percent", 2),
            row("a good client's command (s)", windows, "good_secs", 2),
            row("memory, resident (MB)", windows, "resident_mb", 0),
            row("connections a second", windows, "connections", 0),
            "",
            f"{args.rounds} rounds of windows of {args.window} s.",
        ]
    )


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default_taper = REPOSITORY / "target" / "release" / "taper"
    parser.add_argument("--taper", type=Path, default=default_taper, metavar="PATH", help="target/release/taper")
    parser.add_argument("--clients", type=positive, default=1000, metavar="N", help="clients of the storm (1000)")
    parser.add_argument("--rounds", type=positive, default=6, metavar="N", help="rounds (6)")
    parser.add_argument("--window", type=positive, default=8, metavar="SECS", help="length of a window (8)")
    return parser.parse_args()


def main():
    args = arguments()
    taper = args.taper.resolve()
    if not taper.is_file():
        raise CannotMeasure(f"{taper} is not there: cargo build --release")
    core, *others = sorted(os.sched_getaffinity(0))
    if not others:
        raise CannotMeasure("there is one core only: the clients would take the training's")
    os.sched_setaffinity(0, others)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(taper, Path(folder), core)
        try:
            print(table(measure(run, args), args))
        finally:
            run.command("stop", RUN)


if __name__ == "__main__":
    # The run must not outlive this script, also where a time limit ends it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except CannotMeasure as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
