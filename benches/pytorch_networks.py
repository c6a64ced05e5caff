"""The networks of taper in PyTorch, for the programs beside this one."""

import torch
import torch.nn.functional as F
from torch import nn


class SqueezeExcitation(nn.Module):
    def __init__(self, channels):
        super().__init__()
        squeezed = channels // 16
        self.fc = nn.Sequential(
            nn.Linear(channels, squeezed, bias=False),
            nn.ReLU(),
            nn.Linear(squeezed, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x):
        gates = self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return x * gates[:, :, None, None]


class Cnn(nn.Module):
    """The study's, for images (N, 3, 32, 32); with `average`, for those of any size."""

    def __init__(self, channels=(32, 64, 128), attention=False, average=False):
        super().__init__()
        inputs_outputs = list(zip((3, *channels), channels))
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in inputs_outputs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in channels)
        self.gates = nn.ModuleList(SqueezeExcitation(c) if attention else nn.Identity() for c in channels)
        self.average = average
        side = 1 if average else 32 >> len(channels)
        self.fc1, self.fc2 = nn.Linear(channels[-1] * side * side, 512), nn.Linear(512, 10)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        for conv, norm, gate in zip(self.convs, self.norms, self.gates):
            x = F.max_pool2d(gate(F.relu(norm(conv(x)))), 2)
        x = x.mean((2, 3)) if self.average else x.flatten(1)
        return self.fc2(self.dropout(F.relu(self.fc1(x))))


class FrozenScaleNorm(nn.BatchNorm2d):
    def __init__(self, channels):
        super().__init__(channels, eps=1e-12, momentum=0.4)
        self.weight.requires_grad = False


def partial_identity(inputs, outputs):
    """A convolution whose first filters pass their input on."""
    conv = nn.Conv2d(inputs, outputs, 3, padding="same", bias=False)
    nn.init.dirac_(conv.weight.data[:inputs])
    return conv


class Group(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1, self.norm1 = partial_identity(inputs, outputs), FrozenScaleNorm(outputs)
        self.conv2, self.norm2 = partial_identity(outputs, outputs), FrozenScaleNorm(outputs)

    def forward(self, x):
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


class Airbench(nn.Module):
    """That of airbench94 (Jordan 2024, arXiv 2404.00498, section 3), for pictures (N, 3, 32, 32)."""

    def __init__(self, channels=(64, 256, 256)):
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.requires_grad = False
        groups = (Group(i, o) for i, o in zip((24, *channels), channels))
        self.groups = nn.Sequential(*groups)
        self.head = nn.Linear(channels[-1], 10, bias=False)
        self.head.weight.data /= self.head.weight.data.std()

    def forward(self, x, whitening_bias_is_trained=True):
        bias = self.whiten.bias
        x = F.conv2d(x, self.whiten.weight, bias if whitening_bias_is_trained else bias.detach())
        x = self.groups(F.gelu(x))
        x = F.max_pool2d(x, 3).flatten(1)
        return self.head(x) / x.shape[1]

    @torch.no_grad()
    def whiten_patches(self, pictures, epsilon=5e-4):
        """Makes the frozen kernel: the scaled eigenvectors of the second moments of the 2 x 2 patches, and their opposites."""
        patches = pictures.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        kernel = (vectors / (values + epsilon).sqrt()).T.reshape(12, 3, 2, 2)
        self.whiten.weight.copy_(torch.cat([kernel, -kernel]))
