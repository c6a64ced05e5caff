"""How long the images of a folder take before and while a network trains on them: taper's first pass (decode, resize, cache) and a
warm start beside the first and later passes of torchvision's DataLoader.

    python3 -m venv venv && venv/bin/pip install torch==2.9.1 torchvision==0.24.1 pillow
    venv/bin/python benches/first_pass.py --taper target/release/taper --cifar DIR --rounds 3

--cifar: a folder with cifar-10-batches-bin, of which 60 000 PNG files are written (once, beside --work). A second folder has 3 000
JPEG files of about 1 000 x 750 pixels that are made here. Both programs are run in turns; medians are told.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
JPEGS = 3000


def write_cifar(batches, root):
    """Each image as a PNG file, numbered in the order of the batches."""
    number = {"train": 0, "test": 0}
    for name in [f"data_batch_{batch}" for batch in range(1, 6)] + ["test_batch"]:
        split = "test" if name == "test_batch" else "train"
        records = np.fromfile(batches / f"{name}.bin", np.uint8).reshape(-1, 3073)
        for record in records:
            folder = root / split / CLASSES[record[0]]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = record[1:].reshape(3, 32, 32).transpose(1, 2, 0)
            Image.fromarray(pixels).save(folder / f"{number[split]:05}.png")
            number[split] += 1


def write_jpegs(root):
    """Photograph-like: smooth fields of colour, edges and noise, of many sizes."""
    rng = np.random.default_rng(0)
    for number in range(JPEGS):
        width, height = int(rng.integers(800, 1200)), int(rng.integers(600, 900))
        coarse = rng.integers(0, 256, (9, 12, 3), np.uint8)
        image = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
        fine = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
        image += np.asarray(Image.fromarray(fine).resize((width, height), Image.Resampling.BILINEAR)).astype(np.int16) // 4 - 32
        image += rng.normal(0, 6, image.shape).astype(np.int16)
        folder = root / ("test" if number % 6 == 0 else "train") / f"class{number % 5}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{number:05}.jpg", quality=90)


def torchvision_pass(root, side, workers):
    """Seconds for one pass over all images of a folder, decoded and resized, without augmentation."""
    code = f"""
import time, torch
from torch.utils.data import ConcatDataset, DataLoader
from torchvision import datasets, transforms
t = transforms.Compose([transforms.Resize(({side}, {side})), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.25] * 3)])
data = ConcatDataset([datasets.ImageFolder("{root}/" + split, t) for split in ("train", "test")])
start = time.perf_counter()
seen = sum(len(labels) for _, labels in DataLoader(data, batch_size=64, num_workers={workers}))
print(time.perf_counter() - start, seen)
"""
    secs, seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return float(secs), int(seen)


def taper_pass(taper, root, side, cache):
    """Seconds for `taper data inspect`, which decodes what is not in the cache."""
    command = [taper, "data", "inspect", root, "--images", "off", "--set", f"data.side={side}"]
    start = time.perf_counter()
    subprocess.run(command, env={**os.environ, "XDG_CACHE_HOME": str(cache)}, capture_output=True, check=True)
    return time.perf_counter() - start


def waiting_percent(taper, root, side, cache):
    """Percent of the time of training steps that goes into waiting for their images, which are in the cache."""
    with tempfile.TemporaryDirectory() as folder:
        command = [taper.resolve(), "train", "--no-tui", "--name", "run", "--data", root, "--max-steps", "300", "--device", "cpu"]
        command += ["--set", f"data.side={side}"]
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
        subprocess.run(command, env=environment, cwd=folder, capture_output=True, check=True)
        lines = (Path(folder) / "runs/run/events.jsonl").read_text().splitlines()
    steps = [event for event in map(json.loads, lines) if event["event"] == "steps_done" and event["first_step"] > 10]
    return 1e-4 * sum(event["split_us"][0] for event in steps) / sum(event["train_secs"] for event in steps)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--taper", type=Path, required=True)
    parser.add_argument("--cifar", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("/tmp/taper-first-pass"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    folders = [("cifar-png", 32, lambda root: write_cifar(args.cifar / "cifar-10-batches-bin", root)), ("jpeg", 64, write_jpegs)]
    results = {}
    for name, side, write in folders:
        root = args.work / name
        if not root.exists():
            unfinished = args.work / f"{name}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            write(unfinished)
            unfinished.rename(root)
        cache = args.work / "cache"
        seconds = {"torchvision": [], "first": [], "warm": []}
        waiting = []
        for _ in range(args.rounds):
            secs, seen = torchvision_pass(root, side, args.workers)
            seconds["torchvision"].append(secs)
            shutil.rmtree(cache, ignore_errors=True)
            seconds["first"].append(taper_pass(args.taper, root, side, cache))
            seconds["warm"].append(taper_pass(args.taper, root, side, cache))
            waiting.append(waiting_percent(args.taper, root, side, cache))
        medians = {what: statistics.median(values) for what, values in seconds.items()}
        ratio = medians["torchvision"] / medians["first"]
        results[name] = {"images": seen, "side": side, **seconds, "ratio": ratio, "waiting_percent": waiting}
        print(
            f"{name}: {seen} images at {side}: torchvision {medians['torchvision']:.1f} s a pass, taper {medians['first']:.1f} s "
            f"the first time ({ratio:.1f} times as fast), {medians['warm']:.2f} s from its cache; "
            f"training waits {statistics.median(waiting):.2f} % of its time for images"
        )
    print(json.dumps(results))
    assert all(math.isfinite(result["ratio"]) for result in results.values())


if __name__ == "__main__":
    main()
