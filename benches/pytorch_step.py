"""Steps of the study's network in PyTorch on a card, as JSON: what `taper bench --device cuda` is compared with.

    python3 benches/pytorch_step.py --mode eager|compile|graph [--precision f32|bf16] [--steps 200] [--batch-size 64]

The network and the loss are those of `taper bench`, and Adam is PyTorch's fused one. The batch lies ready on the card, so
PyTorch has less to do: taper's steps make theirs of the images, augmented. In f32, TF32 is off, as taper has none; bf16 is
autocast, in channels_last. `graph` captures forward, backward and Adam in one CUDA graph.
"""

import argparse
import json
import time

import torch
import torch.nn.functional as F
from torch import nn


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        channels = (3, 32, 64, 128)
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(channels, channels[1:]))
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in channels[1:])
        self.fc1, self.fc2 = nn.Linear(128 * 4 * 4, 512), nn.Linear(512, 10)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        for conv, norm in zip(self.convs, self.norms):
            x = F.max_pool2d(F.relu(norm(conv(x))), 2)
        return self.fc2(self.dropout(F.relu(self.fc1(x.flatten(1)))))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=["eager", "compile", "graph"], required=True)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--warm-up", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="cuda", help="cpu tries this script out, in eager mode")
    args = parser.parse_args()

    device = torch.device(args.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    network = Cnn().to(device, memory_format=torch.channels_last).train()
    x = torch.randn(args.batch_size, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (args.batch_size,), device=device)
    on_card = device.type == "cuda"
    adam = torch.optim.Adam(network.parameters(), lr=1e-3, fused=on_card, capturable=args.mode == "graph")
    half = args.precision == "bf16"

    def forward():
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            return F.cross_entropy(network(x).float(), labels)

    loss_of = torch.compile(forward) if args.mode == "compile" else forward

    def step():
        adam.zero_grad(set_to_none=True)
        loss = loss_of()
        loss.backward()
        adam.step()
        return loss

    def wait():
        if on_card:
            torch.cuda.synchronize()

    run = step
    if args.mode == "graph":
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        adam.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            step()
        run = graph.replay

    for _ in range(args.warm_up):
        run()
    wait()
    started = time.perf_counter()
    for _ in range(args.steps):
        run()
    wait()
    secs = (time.perf_counter() - started) / args.steps
    print(
        json.dumps(
            {
                "torch": torch.__version__,
                "device": torch.cuda.get_device_name(device) if on_card else "cpu",
                "mode": args.mode,
                "precision": args.precision,
                "batch_size": args.batch_size,
                "steps": args.steps,
                "step_ms": 1e3 * secs,
                "images_per_sec": args.batch_size / secs,
            }
        )
    )


if __name__ == "__main__":
    main()
