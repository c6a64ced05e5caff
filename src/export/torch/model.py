"""A classifier that taper trained, in PyTorch: `python model.py image.jpg …` says what it takes images for.

Needs torch and Pillow. model.json says what the network is, model.safetensors has its weights.
"""

import json
import struct
import sys
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent


class SqueezeExcitation(nn.Module):
    """Hu et al. 2018; with `maxima`, the channel attention of CBAM (Woo et al. 2018)."""

    def __init__(self, channels, maxima=False):
        super().__init__()
        self.maxima = maxima
        squeezed = channels // 16
        self.fc = nn.Sequential(
            nn.Linear(channels, squeezed, bias=False), nn.ReLU(), nn.Linear(squeezed, channels, bias=False)
        )

    def forward(self, x):
        logits = self.fc(x.mean((2, 3)))
        if self.maxima:
            logits = logits + self.fc(x.amax((2, 3)))
        return x * torch.sigmoid(logits)[:, :, None, None]


class EfficientChannelAttention(nn.Module):
    """Wang et al. 2020."""

    def __init__(self, taps):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, taps, padding=taps // 2, bias=False)

    def forward(self, x):
        logits = self.conv(x.mean((2, 3))[:, None])[:, 0]
        return x * torch.sigmoid(logits)[:, :, None, None]


class SpatialAttention(nn.Module):
    """Woo et al. 2018."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x):
        both = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.conv(both))


class NonLocal(nn.Module):
    """Wang et al. 2018, embedded Gaussian."""

    def __init__(self, channels):
        super().__init__()
        self.theta, self.phi, self.g = (nn.Conv2d(channels, channels // 2, 1) for _ in range(3))
        self.W = nn.Conv2d(channels // 2, channels, 1)

    def forward(self, x):
        theta, phi, g = (part(x).flatten(2) for part in (self.theta, self.phi, self.g))
        seen = torch.softmax(theta.mT @ phi, 2) @ g.mT
        return x + self.W(seen.mT.reshape(x.shape[0], -1, *x.shape[2:]))


def pooled(x, kind):
    """A feature map as a vector."""
    return {"flatten": lambda: x.flatten(1), "average": lambda: x.mean((2, 3)), "max": lambda: x.amax((2, 3))}[kind]()


class Cnn(nn.Module):
    """Blocks of convolution, batch normalisation, ReLU, attention and max-pool; then two linear layers."""

    def __init__(self, facts, shapes):
        super().__init__()
        self.pool, self.kind, self.blocks = facts["pool"], facts["attention"], len(facts["channels"])
        inputs = facts["input"]["channels"]
        for number, channels in enumerate(facts["channels"], 1):
            setattr(self, f"conv{number}", nn.Conv2d(inputs, channels, 3, padding=1))
            setattr(self, f"bn{number}", nn.BatchNorm2d(channels))
            if self.kind in ("se", "cbam"):
                setattr(self, f"ca{number}", SqueezeExcitation(channels, maxima=self.kind == "cbam"))
            if self.kind == "eca":
                setattr(self, f"eca{number}", EfficientChannelAttention(shapes[f"eca{number}.conv.weight"][2]))
            if self.kind in ("spatial", "cbam"):
                setattr(self, f"sa{number}", SpatialAttention())
            if self.kind == "non-local" and number == self.blocks:
                setattr(self, f"nl{number}", NonLocal(channels))
            inputs = channels
        self.fc1 = nn.Linear(shapes["fc1.weight"][1], facts["hidden"])
        self.fc2 = nn.Linear(facts["hidden"], len(facts["classes"]))

    def forward(self, x):
        for number in range(1, self.blocks + 1):
            x = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x)).relu()
            for attention in ("ca", "eca", "sa", "nl"):
                if hasattr(self, f"{attention}{number}"):
                    x = getattr(self, f"{attention}{number}")(x)
            x = F.max_pool2d(x, 2)
        return self.fc2(self.fc1(pooled(x, self.pool)).relu())


class Group(nn.Module):
    def __init__(self, inputs, channels, activation):
        super().__init__()
        self.activation = activation
        self.conv1 = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels, eps=1e-12)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels, eps=1e-12)

    def forward(self, x):
        x = self.activation(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return self.activation(self.norm2(self.conv2(x)))


class Airbench(nn.Module):
    """The network of airbench94 (Jordan 2024, section 3)."""

    def __init__(self, facts, shapes):
        super().__init__()
        self.pool = facts["pool"]
        self.activation = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu}[facts["activation"]]
        outputs, inputs = shapes["whiten.weight"][:2]
        self.whiten = nn.Conv2d(inputs, outputs, 2)
        groups, inputs = {}, outputs
        for number, channels in enumerate(facts["channels"], 1):
            groups[str(number)] = Group(inputs, channels, self.activation)
            inputs = channels
        self.layers = nn.ModuleDict(groups)
        self.head = nn.Linear(shapes["head.weight"][1], len(facts["classes"]), bias=False)

    def forward(self, x):
        x = self.activation(self.whiten(x))
        for group in self.layers.values():
            x = group(x)
        return self.head(pooled(x, self.pool)) / 9


def read_safetensors(path):
    """The tensors of a file, by name."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    kinds = {"F32": torch.float32, "I64": torch.int64}
    tensors = {}
    for name, about in header.items():
        start, end = (8 + length + offset for offset in about["data_offsets"])
        numbers = torch.frombuffer(bytearray(data[start:end]), dtype=kinds[about["dtype"]])
        tensors[name] = numbers.reshape(about["shape"])
    return tensors


def load():
    """The network, in evaluation mode, and what is known of it."""
    facts = json.loads((HERE / "model.json").read_text())
    weights = read_safetensors(HERE / "model.safetensors")
    kind = {"cnn": Cnn, "airbench": Airbench}[facts["network"]]
    network = kind(facts, {name: tensor.shape for name, tensor in weights.items()})
    network.load_state_dict(weights)
    return network.eval(), facts


def load_image(path, facts):
    """An image as the network takes it, (1, C, H, W), made as the run's test images were."""
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith(("I", "F")):
        # 16 bits; Pillow would cut them off above 255.
        image = image.point(lambda value: value * (1 / 257)).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, facts["background"]), image)
    image = image.convert("L" if image.mode == "L" else "RGB")
    size = facts["input"]
    if size["channels"] == 1 and image.mode == "RGB":
        image = image.convert("L")
    elif size["channels"] == 3:
        image = image.convert("RGB")
    width, height = image.size
    box = (0, 0, width, height)
    if facts["resize"] != "squash":
        shape = size["width"] / size["height"]
        kept_width, kept_height = min(width, height * shape), min(height, width / shape)
        left, top = (width - kept_width) / 2, (height - kept_height) / 2
        box = (left, top, left + kept_width, top + kept_height)
    image = image.resize((size["width"], size["height"]), Image.Resampling.BILINEAR, box)
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    planes = pixels.reshape(size["height"], size["width"], size["channels"]).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(facts[name])[:, None, None] for name in ("mean", "std"))
    return (planes - mean) / std


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__.strip())
    network, facts = load()
    for path in sys.argv[1:]:
        with torch.inference_mode():
            confidences = network(load_image(path, facts)).softmax(1)[0]
        top = confidences.topk(min(5, len(facts["classes"])))
        told = (f"{facts['classes'][place]} {100 * value:.1f} %" for value, place in zip(*top))
        print(f"{path}: {', '.join(told)}")


if __name__ == "__main__":
    main()
