"""The record recipe for CIFAR-10 in PyTorch on the CPU, which config/record.toml is compared with: prints a line an epoch.

    venv/bin/python benches/record_pytorch.py --data data                   # whole: 8 epochs
    venv/bin/python benches/record_pytorch.py --data data --time-steps 3    # only how long its steps take

--data has CIFAR-10's binary files, or cifar-10-batches-bin/ with them. The recipe is that of airbench94_muon (Jordan,
github.com/KellerJordan/cifar10-airbench): a frozen whitening layer, Muon for the filters, SGD with Nesterov's momentum for
everything else, all with learning rates that fall linearly to zero; the sum of the losses with label smoothing; pictures
translated by up to two pixels with reflection, and flipped in every other epoch. It computes by autocast, with weights in
f32, where theirs has all but the normalisation in f16 on a GPU.

Seconds are of training, batches and optimizer included, without evaluation and reading.
"""

import argparse
import sys
import time
from pathlib import Path
from statistics import median

try:
    import numpy as np
    import torch
    import torch.nn.functional as F
except ImportError as error:
    sys.exit(f"{error}\nInstall PyTorch:\n  python3 -m venv venv && venv/bin/pip install torch==2.9.1 numpy")

from pytorch_networks import Airbench

LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
MEAN, STD = ([[[x]] for x in channels] for channels in ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]))
TRANSLATION = 2  # pixels
LABEL_SMOOTHING = 0.2
WHITENED_PICTURES = 5000
WHITENING_BIAS_EPOCHS = 3
EVALUATION_BATCH = 2000

# Of the sum of a batch's losses; a mean takes them times the batch size.
FILTER_RATE, BIAS_RATE, HEAD_RATE = 0.24, 0.053, 0.67
FILTER_MOMENTUM, SGD_MOMENTUM = 0.6, 0.85
DECAY_A_PICTURE = 2e-6  # what a step takes of a weight at first


class Pictures:
    """uint8 (N, 3, 32, 32), with labels."""

    def __init__(self, files):
        records = np.concatenate([np.fromfile(file, dtype=np.uint8).reshape(-1, 3073) for file in files])
        self.labels = torch.from_numpy(records[:, 0].astype(np.int64))
        self.pixels = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32).copy())

    def __len__(self):
        return len(self.labels)


def normalised(pixels):
    return (pixels / 255 - torch.tensor(MEAN)) / torch.tensor(STD)


class Augmented:
    """Endless epochs of batches, without what is left over at the end of one."""

    def __init__(self, pictures, batch_size):
        self.labels, self.batch_size = pictures.labels, batch_size
        self.padded = F.pad(pictures.pixels.float(), (TRANSLATION,) * 4, "reflect").to(torch.uint8)
        self.is_flipped = torch.rand(len(pictures)) < 0.5
        self.steps = len(pictures) // batch_size  # an epoch

    def epoch(self, number):
        flips = self.is_flipped ^ (number % 2 == 1)
        order = torch.randperm(len(self.labels))
        for step in range(self.steps):
            batch = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield normalised(self.translated(batch, flips[batch])), self.labels[batch]

    def translated(self, batch, is_flipped):
        shifts = torch.randint(2 * TRANSLATION + 1, (len(batch), 2))
        pixels = torch.empty(len(batch), 3, 32, 32, dtype=torch.uint8)
        for dy in range(2 * TRANSLATION + 1):
            for dx in range(2 * TRANSLATION + 1):
                here = ((shifts[:, 0] == dy) & (shifts[:, 1] == dx)).nonzero().flatten()
                pixels[here] = self.padded[batch[here], :, dy : dy + 32, dx : dx + 32]
        return torch.where(is_flipped[:, None, None, None], pixels.flip(-1), pixels)


def orthogonalised(matrix):
    """By three of Newton and Schulz's iterations, in bf16."""
    x = matrix.bfloat16()
    x = x / (x.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(3):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.T if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Filters, brought to a fixed norm, move along their orthogonalised momentum (Nesterov's)."""

    def __init__(self, filters, lr, momentum):
        super().__init__(filters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for filters in group["params"]:
                state = self.state[filters]
                if not state:
                    state["velocity"] = torch.zeros_like(filters)
                velocity = state["velocity"]
                velocity.mul_(group["momentum"]).add_(filters.grad)
                direction = filters.grad + group["momentum"] * velocity
                filters.mul_(len(filters) ** 0.5 / filters.norm())
                update = orthogonalised(direction.reshape(len(filters), -1)).reshape(filters.shape)
                filters.add_(update, alpha=-group["lr"])


class Recipe:
    def __init__(self, args, train):
        self.precision = {"bf16": torch.bfloat16, "f32": torch.float32}[args.precision]
        self.layout = LAYOUTS[args.layout]
        self.batches = Augmented(train, args.batch_size)
        self.steps, self.done = args.epochs * self.batches.steps, 0
        self.whitening_bias_steps = WHITENING_BIAS_EPOCHS * self.batches.steps
        self.net = Airbench().to(memory_format=self.layout)
        self.net.whiten_patches(normalised(train.pixels[:WHITENED_PICTURES]))
        self.forward = torch.compile(self.net, dynamic=False) if args.compile else self.net
        trained = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        norm_biases = [p for name, p in self.net.named_parameters() if "norm" in name and p.requires_grad]
        decay = DECAY_A_PICTURE * args.batch_size
        self.sgd = torch.optim.SGD(
            [
                {"params": [self.net.whiten.bias], "lr": BIAS_RATE, "weight_decay": decay / BIAS_RATE},
                {"params": norm_biases, "lr": BIAS_RATE, "weight_decay": decay / BIAS_RATE},
                {"params": [self.net.head.weight], "lr": HEAD_RATE, "weight_decay": decay / HEAD_RATE},
            ],
            momentum=SGD_MOMENTUM,
            nesterov=True,
            fused=True,
        )
        self.muon = Muon([p for p in trained if p.dim() == 4], FILTER_RATE, FILTER_MOMENTUM)
        self.groups = self.sgd.param_groups + self.muon.param_groups
        self.first_rates = [group["lr"] for group in self.groups]

    def computing(self):
        return torch.autocast("cpu", torch.bfloat16, enabled=self.precision == torch.bfloat16)

    def logits(self, x):
        with self.computing():
            return self.forward(x.contiguous(memory_format=self.layout)).float()

    def step(self, x, y):
        """The mean loss of the batch."""
        self.net.train()
        with self.computing():
            is_trained = self.done < self.whitening_bias_steps
            logits = self.forward(x.contiguous(memory_format=self.layout), is_trained)
        loss = F.cross_entropy(logits.float(), y, label_smoothing=LABEL_SMOOTHING, reduction="sum")
        loss.backward()
        for group, rate in zip(self.groups, self.first_rates):
            steps = self.whitening_bias_steps if group is self.groups[0] else self.steps
            group["lr"] = rate * max(0.0, 1 - self.done / steps)
        self.sgd.step()
        self.muon.step()
        self.net.zero_grad(set_to_none=True)
        self.done += 1
        return loss.item() / len(x)

    @torch.no_grad()
    def accuracy(self, test, logits):
        self.net.eval()
        batches = zip(test.pixels.split(EVALUATION_BATCH), test.labels.split(EVALUATION_BATCH))
        return sum((logits(normalised(x)).argmax(1) == y).sum().item() for x, y in batches) / len(test)

    def logits_of_views(self, x):
        """Of the picture, and of it shifted by a pixel to two sides, each with its mirror image: half, a quarter, a quarter."""
        padded = F.pad(x, (1,) * 4, "reflect")
        shifted = [padded[:, :, :32, :32], padded[:, :, 2:, 2:]]
        views = [(0.5, x), *((0.25, view) for view in shifted)]
        return sum(share * (self.logits(view) + self.logits(view.flip(-1))) / 2 for share, view in views)


def train(recipe, test, args):
    secs = 0.0
    for epoch in range(args.epochs):
        losses, started = [], time.perf_counter()
        for x, y in recipe.batches.epoch(epoch):
            losses.append(recipe.step(x, y))
            if recipe.done == args.max_steps:
                break
        secs += time.perf_counter() - started
        accuracy = recipe.accuracy(test, recipe.logits)
        loss = sum(losses) / len(losses)
        say(f"epoch {epoch + 1}/{args.epochs}  train loss {loss:.4f}  test acc {accuracy:.2%}  {secs:.1f} s")
        if recipe.done == args.max_steps:
            break
    started = time.perf_counter()
    accuracy = recipe.accuracy(test, recipe.logits_of_views)
    say(f"test acc with flips and shifts {accuracy:.2%}  ({time.perf_counter() - started:.1f} s)  {secs / 60:.2f} min")


def time_steps(recipe, steps):
    secs = []
    epochs = (batch for epoch in range(steps + 2) for batch in recipe.batches.epoch(epoch))
    started = time.perf_counter()
    for number, (x, y) in enumerate(epochs):
        recipe.step(x, y)
        now = time.perf_counter()
        if number > 0:  # a step to warm up
            secs.append(now - started)
        started = now
        if number == steps:
            break
    say(
        f"a step {median(secs):.3f} s ({min(secs):.3f}–{max(secs):.3f} s, {steps} steps); "
        f"{recipe.steps} steps: {median(secs) * recipe.steps / 60:.1f} min"
    )


def cifar_folder(data):
    for folder in (data / "cifar-10-batches-bin", data):
        if (folder / "test_batch.bin").is_file():
            return folder
    sys.exit(f"the full CIFAR-10 is not in {data}: get it with `taper data fetch --dir {data}`")


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), metavar="DIR", help="where CIFAR-10 is (data)")
    parser.add_argument("--threads", type=positive, default=2, metavar="N", help="compute threads (2)")
    parser.add_argument("--precision", choices=["bf16", "f32"], default="bf16", help="bf16: autocast (bf16)")
    parser.add_argument("--layout", choices=list(LAYOUTS), default="channels_last", help="of memory (channels_last)")
    parser.add_argument("--compile", action="store_true", help="torch.compile, which the first step waits for")
    parser.add_argument("--batch-size", type=positive, default=2000, metavar="N", help="(2000)")
    parser.add_argument("--epochs", type=positive, default=8, metavar="N", help="(8)")
    parser.add_argument("--max-steps", type=positive, metavar="N", help="stop after N; the schedule stays the whole run's")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(0)")
    parser.add_argument("--time-steps", type=positive, metavar="N", help="train N steps, tell their time, and stop")
    return parser.parse_args()


def say(message):
    print(message, flush=True)


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    folder = cifar_folder(args.data)
    recipe = Recipe(args, Pictures(sorted(folder.glob("data_batch_*.bin"))))
    compiled = ", compiled" if args.compile else ""
    say(
        f"torch {torch.__version__}, {args.threads} threads, {args.precision}, {args.layout}{compiled}, "
        f"batch {args.batch_size}, seed {args.seed}"
    )
    if args.time_steps:
        time_steps(recipe, args.time_steps)
    else:
        train(recipe, Pictures([folder / "test_batch.bin"]), args)


if __name__ == "__main__":
    main()
