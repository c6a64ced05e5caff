"""taper against PyTorch, on the same machine and in one run: prints a Markdown table.

    python3 -m venv venv && venv/bin/pip install torch==2.9.1 torchvision==0.24.1 numpy      (large)
    cargo build --release
    venv/bin/python benches/compare_pytorch.py
    venv/bin/python benches/compare_pytorch.py --epoch --data data      # an epoch of each, too: many minutes
    venv/bin/python benches/compare_pytorch.py --only airbench          # the cases with that in their names
    venv/bin/python benches/compare_pytorch.py --quick                  # a trial of this script: numbers mean little

Leave the machine alone meanwhile: beside a compiler that kept a core busy, PyTorch's steps on two threads took about ten
times as long, taper's up to two and a half times. Such numbers are unfair; the script measures what others take, and
warns.

Both train the same network with Adam (PyTorch's fused one) on the CPU with the same number of compute threads: the
study's, wider ones of the family, and that of airbench94. They take turns: in every round each measures some steps, after a
few to warm up, as PyTorch in its default layout (NCHW) and in channels_last, each in f32 and by autocast to bf16; as
torch.compile of whichever of the four was fastest in the first round, unless --no-compile; and as `taper bench`. A step of
a large batch counts for several. A round counts with the median of its steps; the table has the median of the rounds, and
in brackets the lowest and the highest round. taper's ratio is to PyTorch's best.

Where the work differs, PyTorch has less of it. Its steps and evaluations take one batch that lies ready; taper's steps
are fed by its loader, which augments on threads of its own, and its evaluations normalise their pictures. To train
taper on pictures that are not augmented: --taper-set augment.enabled=false.

The epoch is the published script's: torchvision's transforms on PIL pictures, a DataLoader with num_workers of 0, 1 and
2, of which the fastest counts, and evaluation in batches of 64; against `taper train --no-tui`.

Augmentation is measured on one core: torchvision's transforms of a PIL picture, and all that taper's loader does to one.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from multiprocessing import get_context
from pathlib import Path
from statistics import median

try:
    import numpy as np
    import torch
    import torch.nn.functional as F
    import torchvision
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms
except ImportError as error:
    sys.exit(
        f"{error}\nInstall PyTorch, and run this with the Python that has it:\n"
        "  python3 -m venv venv && venv/bin/pip install torch==2.9.1 torchvision==0.24.1 numpy"
    )

from pytorch_networks import Airbench, Cnn

REPOSITORY = Path(__file__).resolve().parents[1]
SAMPLE = REPOSITORY / "data" / "sample" / "train.bin"
SE_CONFIG = REPOSITORY / "config" / "se.toml"

COMPILED, TAPER = "PyTorch compiled", "taper"
STUDY_BATCH = 64
EVALUATION_BATCHES = (64, 256)  # pictures in a batch; taper's default is 256
WARM_UP = 5  # as `taper bench`; of steps of STUDY_BATCH pictures
FEWEST_STEPS = 3
EVALUATIONS = 10  # as `taper bench`
OTHER_LOAD_LIMIT = 0.1  # busy cores
AUGMENTED_PICTURES = 512
DATALOADER_WORKERS = (0, 1, 2)
LEARNING_RATE = 1e-3

NORMALISE = [transforms.ToTensor(), transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))]
AUGMENT = [
    transforms.RandomCrop(32, padding=4),
    transforms.RandomHorizontalFlip(),
    transforms.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1),
    transforms.RandomRotation(15),
]
TRAIN_TRANSFORM = transforms.Compose(AUGMENT + NORMALISE)
TEST_TRANSFORM = transforms.Compose(NORMALISE)


class CannotCompare(Exception):
    """Says what to do about it."""


# What is trained, and how PyTorch computes it


@dataclass(frozen=True)
class Case:
    """What is trained in every round."""

    title: str
    threads: int
    batch: int = STUDY_BATCH
    channels: tuple[int, ...] = (32, 64, 128)
    attention: bool = False
    is_airbench: bool = False
    side: int = 32  # of images of another, the network takes the average over what its blocks leave

    @property
    def name(self):
        return f"{self.title} (ms)"

    def network(self):
        if self.is_airbench:
            return Airbench(self.channels)
        return Cnn(self.channels, self.attention, average=self.side != 32)

    def taper_options(self):
        config = ["--config", str(SE_CONFIG)] if self.attention else []
        network = ["--set=model.network=airbench"] if self.is_airbench else []
        channels = f"--set=model.channels=[{','.join(map(str, self.channels))}]"
        size = [] if self.side == 32 else [f"--set=data.side={self.side}", "--set=model.pool=average"]
        return [*config, *network, *size, channels, "--batch-size", str(self.batch), "--threads", str(self.threads)]

    def steps(self, of_study):
        """As many as take about as long as so many of the study's, but for the network."""
        return max(FEWEST_STEPS, of_study * STUDY_BATCH * 32**2 // (self.batch * self.side**2))


@dataclass(frozen=True)
class Way:
    """How PyTorch computes."""

    precision: str
    layout_name: str
    is_compiled: bool = False

    @property
    def name(self):
        return COMPILED if self.is_compiled else f"PyTorch {self.precision} {self.layout_name}"

    @property
    def layout(self):
        return {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}[self.layout_name]

    def computing(self):
        return torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16")


EAGER = [Way(precision, layout) for precision in ("f32", "bf16") for layout in ("NCHW", "channels_last")]
NCHW = EAGER[0].name
COLUMNS = [*(way.name for way in EAGER), COMPILED, TAPER]


class Trainer:
    """A fresh network with its optimizer."""

    def __init__(self, network, way):
        torch.manual_seed(0)
        self.way = way
        self.net = network().to(memory_format=way.layout)
        self.forward = torch.compile(self.net, dynamic=False) if way.is_compiled else self.net
        self.adam = torch.optim.Adam(self.net.parameters(), lr=LEARNING_RATE, fused=True)

    def logits(self, x):
        with self.way.computing():
            return self.forward(x).float()

    def train(self, x, y):
        loss = F.cross_entropy(self.logits(x), y)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        return loss.item()

    def evaluate(self, x, y):
        logits = self.logits(x)
        return F.cross_entropy(logits, y).item(), (logits.argmax(1) == y).sum().item()


# PyTorch, measured


def random_batch(size, layout, side=32):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size, 3, side, side, generator=generator).to(memory_format=layout)
    return x, torch.randint(10, (size,), generator=generator)


def median_secs(work, times, warm_up=WARM_UP):
    secs = []
    for _ in range(warm_up + times):
        started = time.perf_counter()
        work()
        secs.append(time.perf_counter() - started)
    return median(secs[warm_up:])


def torch_step_ms(trainer, case, steps):
    x, y = random_batch(case.batch, trainer.way.layout, case.side)
    trainer.net.train()
    warm_up = max(1, WARM_UP * STUDY_BATCH // case.batch)
    return 1e3 * median_secs(lambda: trainer.train(x, y), case.steps(steps), warm_up)


def torch_evaluation_speed(trainer, batch):
    """Pictures a second."""
    x, y = random_batch(batch, trainer.way.layout)
    trainer.net.eval()
    with torch.inference_mode():
        return batch / median_secs(lambda: trainer.evaluate(x, y), EVALUATIONS)


def torchvision_augmentation_us():
    """Microseconds a picture, on one core: every picture is another."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pictures, _ = read_records([SAMPLE])
    pictures = [Image.fromarray(picture) for picture in pictures[:AUGMENTED_PICTURES]]
    started = time.perf_counter()
    for picture in pictures:
        TRAIN_TRANSFORM(picture)
    return 1e6 * (time.perf_counter() - started) / len(pictures)


# The published script's epoch


def read_records(files):
    """Pictures (N, 32, 32, 3) and labels of CIFAR-10's binary files."""
    counts = [file.stat().st_size // 3073 for file in files]
    pictures = np.empty((sum(counts), 32, 32, 3), dtype=np.uint8)
    labels = np.empty(sum(counts), dtype=np.int64)
    start = 0
    for file, count in zip(files, counts, strict=True):
        records = np.fromfile(file, dtype=np.uint8).reshape(count, 3073)
        labels[start : start + count] = records[:, 0]
        pictures[start : start + count] = records[:, 1:].reshape(count, 3, 32, 32).transpose(0, 2, 3, 1)
        start += count
    return pictures, labels


class Cifar(Dataset):
    """As torchvision's CIFAR10, which does not read the binary files."""

    def __init__(self, files, transform):
        self.pictures, self.labels = read_records(files)
        self.transform = transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.pictures[index])), int(self.labels[index])


@dataclass
class TorchEpoch:
    workers: int
    train_secs: float
    evaluation_secs: float
    peak_bytes: int | None

    @property
    def secs(self):
        return self.train_secs + self.evaluation_secs


def secs_of_all(loader, work, share):
    """Seconds of `work` on all batches; of a share of them, with the pace after the first for the others."""
    batches = len(loader)
    done = min(batches, max(2, round(share * batches)))
    started = time.perf_counter()
    for number, (x, y) in enumerate(loader, start=1):
        work(x, y)
        secs = time.perf_counter() - started
        if number == 1:
            first_secs = secs
        if number == done:
            break
    return first_secs + (secs - first_secs) * (batches - 1) / (done - 1)


def torch_epoch(folder, threads, workers, share):
    torch.set_num_threads(threads)
    trainer = Trainer(Cnn, EAGER[0])
    train_files, test_files = sorted(folder.glob("data_batch_*.bin")), [folder / "test_batch.bin"]
    train = DataLoader(Cifar(train_files, TRAIN_TRANSFORM), batch_size=STUDY_BATCH, shuffle=True, num_workers=workers)
    test = DataLoader(Cifar(test_files, TEST_TRANSFORM), batch_size=STUDY_BATCH, shuffle=False, num_workers=workers)
    trainer.net.train()
    train_secs = secs_of_all(train, trainer.train, share)
    trainer.net.eval()
    with torch.no_grad():
        evaluation_secs = secs_of_all(test, trainer.evaluate, share)
    return TorchEpoch(workers, train_secs, evaluation_secs, peak_resident_bytes())


def peak_resident_bytes():
    """Of this process, where the system tells it (Linux)."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), None)


class OtherLoad:
    """What the machine's other processes, and other guests of its host, take meanwhile."""

    def __init__(self):
        self.started, self.secs_before = time.perf_counter(), self.secs()

    def cores(self):
        """Busy cores on average, where the system tells it (Linux)."""
        secs = self.secs()
        if secs is None or self.secs_before is None:
            return None
        return max(0.0, (secs - self.secs_before) / (time.perf_counter() - self.started))

    @staticmethod
    def secs():
        try:
            first_line = Path("/proc/stat").read_text().splitlines()[0]
        except OSError:
            return None
        user, nice, system, _idle, _iowait, irq, softirq, steal = (int(ticks) for ticks in first_line.split()[1:9])
        all_secs = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return all_secs - sum(os.times()[:4])


def in_new_process(work, *args):
    """So that its memory is its own."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *args).result()


# taper, measured


@dataclass
class TaperEpoch:
    secs: float
    evaluation_secs: float
    command_secs: float
    peak_bytes: int


@dataclass
class Taper:
    binary: Path
    sets: list[str]

    def run(self, *args):
        command = [str(self.binary), *args]
        try:
            result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        except OSError as error:
            raise CannotCompare(
                f"{self.binary} does not start: {error.strerror}\n"
                "Build it with `cargo build --release`, or say where it is with --taper PATH."
            ) from error
        if result.returncode != 0:
            raise CannotCompare(f"`{' '.join(command)}` failed ({result.returncode}):\n{result.stderr.strip()}")
        return result.stdout

    def version(self):
        return self.run("--version").strip()

    def bench(self, case, steps):
        sets = [f"--set={key_value}" for key_value in self.sets]
        options = ["--device", "cpu", "--steps", str(case.steps(steps))]
        return json.loads(self.run("bench", "--json", *options, *case.taper_options(), *sets))

    def epoch(self, folder, threads):
        settings = [f"data.dir={folder}", "data.source=cifar10", f"run.threads={threads}"]
        options = ["--name", "compare", "--device", "cpu", "--epochs", "1"]
        with tempfile.TemporaryDirectory(prefix="taper-compare-") as runs_dir:
            started = time.perf_counter()
            sets = [f"--set={key_value}" for key_value in settings + self.sets]
            self.run("--runs-dir", runs_dir, "train", "--no-tui", *options, *sets)
            command_secs = time.perf_counter() - started
            log = Path(runs_dir, "compare", "events.jsonl").read_text()
        events = [json.loads(line) for line in log.splitlines()]
        done = next(event for event in events if event["event"] == "epoch_done")
        peak_bytes = max(event["resident_bytes"] for event in events if event["event"] == "system_sampled")
        return TaperEpoch(done["elapsed_secs"], done["evaluation_secs"], command_secs, peak_bytes)


# The comparison


@dataclass
class Measured:
    """For each measurement and column, a number of every round."""

    numbers: dict = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    compiled: dict[str, Trainer] = field(default_factory=dict)
    taper_reports: list = field(default_factory=list)
    torch_epochs: list[TorchEpoch] = field(default_factory=list)
    taper_epoch: TaperEpoch | None = None
    other_load: float | None = None

    def add(self, title, column, number):
        self.numbers[title][column].append(number)

    def of(self, title, column):
        return self.numbers[title][column]


PLAIN = "study, plain"
ONE_THREAD = "study, plain, 1 thread"
AUGMENTATION = "augmentation, one core (µs a picture)"


def evaluation(batch):
    return f"evaluation, batch {batch} (pictures/s)"


def all_cases(threads):
    yield Case(PLAIN, threads)
    yield Case("study, SE", threads, attention=True)
    if threads > 1:
        yield Case(ONE_THREAD, 1)
    for channels, batch in [((32, 64, 128), 512), *(((64, 128, 256), n) for n in (64, 128)), ((128, 256, 512), 64)]:
        yield Case(f"{'-'.join(map(str, channels))}, batch {batch}", threads, batch, channels)
    for side, channels in [(64, (32, 64, 128, 256)), (128, (32, 64, 128, 256, 256))]:
        for batch in (32, 64):
            yield Case(f"own images, side {side}, batch {batch}", threads, batch, channels, side=side)
    for batch in (500, 1000):
        yield Case(f"airbench 64-256-256, batch {batch}", threads, batch, (64, 256, 256), is_airbench=True)


def cases(args):
    return [case for case in all_cases(args.threads) if args.only in case.title]


def measure_round(taper, args, measured):
    for case in cases(args):
        torch.set_num_threads(case.threads)
        for way in EAGER:
            trainer = Trainer(case.network, way)
            measured.add(case.name, way.name, torch_step_ms(trainer, case, args.steps))
            if case.title == PLAIN:
                for batch in EVALUATION_BATCHES:
                    measured.add(evaluation(batch), way.name, torch_evaluation_speed(trainer, batch))
        if args.compile:
            measure_compiled(case, args, measured)
        report = taper.bench(case, args.steps)
        measured.taper_reports.append(report)
        measured.add(case.name, TAPER, report["step_ms"])
        if case.title == PLAIN:
            measured.add(evaluation(report["eval_batch_size"]), TAPER, report["eval_images_per_sec"])
            measured.add(AUGMENTATION, TAPER, report["loading_us_per_image"])
            measured.add(AUGMENTATION, NCHW, torchvision_augmentation_us())


def measure_compiled(case, args, measured):
    """Compiled once: that takes half a minute."""
    if case.name not in measured.compiled:
        fastest = min(EAGER, key=lambda way: measured.of(case.name, way.name)[0])
        say(f"compiling {case.title}, {fastest.precision} {fastest.layout_name}")
        measured.compiled[case.name] = Trainer(case.network, replace(fastest, is_compiled=True))
    try:
        step_ms = torch_step_ms(measured.compiled[case.name], case, args.steps)
    except torch._dynamo.exc.TorchDynamoException as error:
        raise CannotCompare(f"torch.compile: {str(error).strip().splitlines()[0]}\nInstall g++, or use --no-compile.") from error
    measured.add(case.name, COMPILED, step_ms)


def measure(taper, args):
    measured = Measured()
    others = OtherLoad()
    for number in range(1, args.rounds + 1):
        say(f"round {number} of {args.rounds}")
        measure_round(taper, args, measured)
    measured.other_load = others.cores()
    if measured.other_load is not None and measured.other_load > OTHER_LOAD_LIMIT:
        say(
            f"warning: other processes took {measured.other_load:.2f} cores meanwhile, which slows PyTorch more than "
            "taper: these numbers are unfair, measure again on a quiet machine"
        )
    if args.epoch:
        folder = batches_folder(args.data)
        for workers in DATALOADER_WORKERS:
            say(f"PyTorch's epoch, num_workers={workers}")
            epoch = in_new_process(torch_epoch, folder, args.threads, workers, args.epoch_share)
            measured.torch_epochs.append(epoch)
        say("taper's epoch")
        measured.taper_epoch = taper.epoch(folder, args.threads)
    return measured


def batches_folder(data):
    for folder in (data / "cifar-10-batches-bin", data):
        files = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
        if all((folder / file).is_file() for file in files):
            return folder.resolve()
    raise CannotCompare(
        f"the full CIFAR-10 is not in {data}/cifar-10-batches-bin: get it with `taper data fetch --dir {data}`, "
        "or say with --data DIR where it is."
    )


# The report


def plain_number(number):
    if number >= 100:
        return f"{number:,.0f}".replace(",", " ")
    return f"{number:.1f}" if number >= 1 else f"{number:.2f}"


def cell(numbers):
    """The median, and the spread where there is one."""
    if not numbers:
        return "-"
    if len(numbers) == 1:
        return plain_number(numbers[0])
    return f"{plain_number(median(numbers))} ({plain_number(min(numbers))}–{plain_number(max(numbers))})"


def row(title, columns, notes=None, best=min):
    """`columns` has the numbers; a note goes behind its cell. `best` chooses among PyTorch's."""
    cells = [" ".join([cell(columns.get(column)), *(notes or {}).get(column, [])]) for column in COLUMNS]
    of_torch = {column: median(columns[column]) for column in COLUMNS[:-1] if columns.get(column)}
    if not (of_torch and columns.get(TAPER)):
        return line([title, *cells, "-", "-"])
    name = best(of_torch, key=of_torch.get)
    return line([title, *cells, name.removeprefix("PyTorch "), f"{median(columns[TAPER]) / of_torch[name]:.2f}"])


def line(cells):
    return f"| {' | '.join(cells)} |"


def evaluation_row(measured):
    """PyTorch by the batch size that suits it better."""
    columns, notes = {TAPER: measured.of(evaluation(256), TAPER)}, {}
    for way in EAGER:
        better = max(EVALUATION_BATCHES, key=lambda batch: median(measured.of(evaluation(batch), way.name)))
        columns[way.name] = measured.of(evaluation(better), way.name)
        notes[way.name] = [f"at {better}"]
    return row("evaluation, the better of batch 64 and 256 (pictures/s)", columns, notes, best=max)


def thread_row(measured, threads):
    """What one thread takes, as a multiple of what all take: round by round."""
    of_one, of_all = (measured.numbers[f"{title} (ms)"] for title in (ONE_THREAD, PLAIN))
    columns = [[one / all_ for one, all_ in zip(of_one[c], of_all[c], strict=True)] for c in COLUMNS]
    cells = (f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})" if ratios else "-" for ratios in columns)
    return line([f"{ONE_THREAD} over {threads}", *cells, "-", "-"])


def epoch_rows(measured, share):
    best = min(measured.torch_epochs, key=lambda epoch: epoch.secs)
    secs = {NCHW: [best.secs], TAPER: [measured.taper_epoch.secs]}
    notes = [f"num_workers={best.workers}"] + ([f"extrapolated from {share:.0%}"] if share < 1 else [])
    yield row("an epoch, evaluation included (s)", secs, {NCHW: notes})
    mb = {TAPER: [measured.taper_epoch.peak_bytes / 1e6]}
    if best.peak_bytes is not None:
        mb[NCHW] = [best.peak_bytes / 1e6]
    yield row("memory, peak resident (MB)", mb)


def epoch_lines(measured):
    taper = measured.taper_epoch
    torch_secs = ", ".join(
        f"{epoch.secs:.1f} s with num_workers={epoch.workers} ({epoch.evaluation_secs:.1f} s of it evaluation)"
        for epoch in measured.torch_epochs
    )
    yield (
        f"The epoch: PyTorch {torch_secs}; taper {taper.secs:.1f} s ({taper.evaluation_secs:.1f} s), "
        f"the whole command {taper.command_secs:.1f} s."
    )
    yield "Memory: PyTorch's process without its DataLoader's workers; taper's by a sample every ten seconds."


def table(measured, args):
    header = ["", *COLUMNS, "PyTorch's best", "ratio to it"]
    yield line(header)
    yield "|---|" + "---:|" * (len(header) - 1)
    titles = [case.title for case in cases(args)]
    for case in cases(args):
        yield row(case.name, measured.numbers[case.name])
    if PLAIN in titles:
        if ONE_THREAD in titles:
            yield thread_row(measured, args.threads)
        yield row(evaluation(256), measured.numbers[evaluation(256)], best=max)
        yield evaluation_row(measured)
        yield row(AUGMENTATION, measured.numbers[AUGMENTATION], {NCHW: ["torchvision"]})
    if args.epoch:
        yield from epoch_rows(measured, args.epoch_share)


def conditions(taper, args, measured):
    report = measured.taper_reports[0]
    return {
        "machine": cpu_model(),
        "cores": os.cpu_count(),
        "threads": args.threads,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
        "taper": taper.version(),
        "taper_simd": report["simd"],
        "taper_set": args.taper_set,
        "commit": commit(),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "rounds": args.rounds,
        "steps": args.steps,
        "other_load": measured.other_load,
    }


def conditions_line(found):
    commit_part = f", commit {found['commit']}" if found["commit"] else ""
    sets = "".join(f" --set {key_value}" for key_value in found["taper_set"])
    load = "" if found["other_load"] is None else f"; other processes took {found['other_load']:.2f} cores meanwhile"
    return (
        f"{found['machine']}, {found['cores']} cores; {found['threads']} threads, the study's batch {STUDY_BATCH}; "
        f"torch {found['torch']}, torchvision {found['torchvision']}, Python {found['python']}; "
        f"{found['taper']} ({found['taper_simd']}{commit_part}){sets}; {found['date']}{load}. "
        f"Medians of {found['rounds']} interleaved rounds of {found['steps']} steps (lowest–highest round); "
        "ratios are taper / PyTorch's best: below 1 is less time, above 1 more pictures a second."
    )


def cpu_model():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (text.partition(":")[2].strip() for text in lines if text.startswith("model name"))
    return next(names, None) or platform.processor() or platform.machine()


def commit():
    """Of the checkout that this file is in, if it is in one."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    except OSError:
        return None
    return result.stdout.strip() or None


def raw(found, measured):
    return {
        "conditions": found,
        "rounds": measured.numbers,
        "taper_reports": measured.taper_reports,
        "torch_epochs": [asdict(epoch) for epoch in measured.torch_epochs],
        "taper_epoch": asdict(measured.taper_epoch) if measured.taper_epoch else None,
    }


def say(message):
    print(message, file=sys.stderr, flush=True)


# The command line


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def share(text):
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError("must be above 0, and at most 1")
    return number


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default_taper = REPOSITORY / "target" / "release" / "taper"
    parser.add_argument("--taper", type=Path, default=default_taper, metavar="PATH", help="target/release/taper")
    parser.add_argument("--threads", type=positive, default=2, metavar="N", help="compute threads of both (2)")
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="rounds (5)")
    parser.add_argument("--steps", type=positive, default=20, metavar="N", help="measured steps in each (20)")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases with this in their titles")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="without torch.compile")
    parser.add_argument("--quick", action="store_true", help="two rounds of three steps, whatever else is said")
    parser.add_argument("--epoch", action="store_true", help="an epoch of each as well; needs the full CIFAR-10")
    parser.add_argument(
        "--epoch-share", type=share, default=1.0, metavar="X", help="share of PyTorch's epoch to do; extrapolates (1.0)"
    )
    parser.add_argument(
        "--data", type=Path, default=REPOSITORY / "data", metavar="DIR", help="has cifar-10-batches-bin/ (data)"
    )
    parser.add_argument(
        "--taper-set", action="append", default=[], metavar="KEY=VALUE", help="goes to taper's --set; repeatable"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    args = parser.parse_args()
    if not cases(args):
        titles = "; ".join(case.title for case in all_cases(args.threads))
        parser.error(f"--only {args.only}: no case has this in its title: {titles}")
    if args.quick:
        args.rounds, args.steps = 2, 3
    return args


def compare(args):
    taper = Taper(args.taper, args.taper_set)
    taper.version()
    if args.epoch:
        batches_folder(args.data)
    measured = measure(taper, args)
    found = conditions(taper, args, measured)
    if args.json:
        args.json.write_text(json.dumps(raw(found, measured), indent=2) + "\n")
    print("\n".join(table(measured, args)))
    print(f"\n{conditions_line(found)}")
    if args.epoch:
        print("\n" + "\n\n".join(epoch_lines(measured)))


if __name__ == "__main__":
    try:
        compare(arguments())
    except CannotCompare as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
