"""Makes R50-ViT-B_16 of random weights for `compare.py`, once: for our loader and as PyTorch's, ONNX Runtime's and OpenVINO's models.

`weights.safetensors` with `weights.yaml`, `slices.raw` (float32, `[n, 1, side, side]`); for each batch size an ONNX file of that
size and OpenVINO's own format of it, since both are fastest with fixed sizes.
"""

import argparse
import logging
from pathlib import Path

import torch
from safetensors.torch import save_file

import network

SEED = 1
# Of the window of the published abdominal models, HU.
DESCRIPTION = """\
format: 1
architecture: {{ preset: r50-vit-b16, image_size: {side}, classes: {classes} }}
input: {{ intensity: {{ kind: window, low: -125, high: 275 }} }}
compat: transunet-2021
"""


def slices(count, side):
    """Bodies of soft gradients with noise, in 0..1."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, side)] * 2, indexing="ij")
    inside = (x / 0.8) ** 2 + (y / 0.55) ** 2 < 1
    phase = torch.linspace(0, 1, count).view(-1, 1, 1, 1)
    body = 0.4 + 0.2 * torch.sin(7 * x + 5 * phase) * torch.cos(5 * y - 3 * phase)
    return (body * inside + 0.03 * torch.randn(count, 1, side, side)).clamp(0, 1)


def made_up(classes, side):
    """A network whose activations have the size of a trained one's, and in which no tensor is all zeros or ones.

    PyTorch's initial values, norms moved a little, and running statistics of real activations: with those of an untrained network
    the decoder would shrink everything to nothing, and logits would agree whatever came before.
    """
    model = network.TransUNet(classes, side)
    with torch.no_grad():
        torch.nn.init.normal_(model.transformer["embeddings"].position_embeddings, std=0.02)
        for module in model.modules():
            if isinstance(module, (torch.nn.GroupNorm, torch.nn.LayerNorm, torch.nn.BatchNorm2d)):
                module.weight += 0.1 * torch.randn_like(module.weight)
                module.bias += 0.1 * torch.randn_like(module.bias)
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # the average of all batches: the one that follows
        model.train()(slices(2, side))
    return model.eval()


def export(model, batch, folder):
    import openvino

    path = folder / f"{batch}.onnx"
    side = model.grid[0] * 16
    torch.onnx.export(model, (torch.zeros(batch, 1, side, side),), path, input_names=["slices"], output_names=["logits"], dynamo=True, verbose=False)
    openvino.save_model(openvino.convert_model(path), folder / f"{batch}.xml", compress_to_fp16=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", type=int, default=9)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batches", type=int, nargs="*", default=[], help="also export for these batch sizes")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.manual_seed(SEED)
    options.folder.mkdir(parents=True, exist_ok=True)
    model = made_up(options.classes, options.side)
    save_file(model.state_dict(), options.folder / "weights.safetensors")
    (options.folder / "weights.yaml").write_text(DESCRIPTION.format(side=options.side, classes=options.classes))
    slices(max(options.batches, default=1), options.side).numpy().tofile(options.folder / "slices.raw")
    with torch.no_grad():
        for batch in options.batches:
            export(model, batch, options.folder)
    print("{}")


main()
