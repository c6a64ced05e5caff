"""Writes images for check_network.sh, and compares what each program makes of them."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def write_images(root):
    """Colour images of three classes, of one size; one is larger and transparent."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 3)):
        for number, name in enumerate(("cherry", "lime", "plum")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                coarse = rng.integers(0, 160, (4, 4, 3), np.uint8)
                coarse[..., number] += 80
                image = Image.fromarray(coarse).resize((36, 36), Image.Resampling.BICUBIC)
                image.save(folder / f"{split}{index}{name}.png")
    mask = Image.linear_gradient("L").resize((90, 60))
    large = Image.fromarray(rng.integers(0, 256, (6, 9, 3), np.uint8)).resize((90, 60), Image.Resampling.BICUBIC)
    large.putalpha(mask)
    large.save(root / "test" / "plum" / "large.png")


def compare(names):
    import onnx
    import onnxruntime
    import torch
    from safetensors.numpy import load_file

    for name in names:
        onnx.checker.check_model(onnx.load(f"{name}.onnx"), full_check=True)
        session = onnxruntime.InferenceSession(f"{name}.onnx")
        spec = importlib.util.spec_from_file_location("model", f"{name}.torch/model.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        network, facts = module.load()
        classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
        assert classes == facts["classes"]
        worst = {"onnx": 0.0, "torch": 0.0}
        for image in sorted(Path("images/test").glob("*/*.png")):
            expected = load_file(f"{name}-{image.stem}.safetensors")["logits"]
            x = module.load_image(image, facts)
            with torch.inference_mode():
                ours = network(x)[0].numpy()
            mean, std = (np.array(facts[key], np.float32)[:, None, None] for key in ("mean", "std"))
            (logits,) = session.run(None, {"images": x.numpy() * std + mean})
            # Pillow resizes to within a step of 255 of what taper does.
            bound = 0.1 if image.stem == "large" or name == "average" else 1e-4
            for program, values in (("onnx", logits[0]), ("torch", ours)):
                apart = float(np.abs(values - expected).max())
                assert apart <= bound, f"{name}: {image}: {program} is {apart} away"
                if bound < 0.1:
                    worst[program] = max(worst[program], apart)
            said = subprocess.run(
                [sys.executable, f"{name}.torch/model.py", image], capture_output=True, text=True, check=True
            ).stdout
            assert said.startswith(f"{image}: {classes[int(expected.argmax())]} "), said
        print(f"{name}: logits differ by {worst['onnx']:.1e} under onnxruntime, {worst['torch']:.1e} in PyTorch")


if sys.argv[1] == "images":
    write_images(Path("images"))
else:
    compare(sys.argv[2:])
