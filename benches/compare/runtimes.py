"""The other runtimes behind one function each, `[batch, 1, side, side]` to logits: what their documentation gives for speed on a CPU."""

import os
import sys

import numpy as np

CLASSES, SIDE = 9, 224


def pytorch(folder, batch, threads):
    model, torch = network_in_pytorch(folder, threads)
    return in_pytorch(model, torch)


def compiled(folder, batch, threads):
    """`torch.compile` with weights as constants; needs a C++ compiler, and minutes."""
    import torch._inductor.config

    torch._inductor.config.freezing = True
    model, torch = network_in_pytorch(folder, threads)
    return in_pytorch(torch.compile(model), torch)


def network_in_pytorch(folder, threads):
    import torch
    from safetensors.torch import load_file

    import network

    torch.set_num_threads(threads)
    with torch.device("meta"):
        model = network.TransUNet(CLASSES, SIDE)
    model.load_state_dict(load_file(folder / "weights.safetensors"), assign=True)
    return model.eval().requires_grad_(False), torch


def in_pytorch(model, torch):
    def run(slices):
        with torch.inference_mode():
            return model(torch.from_numpy(slices)).numpy()

    return run


def onnxruntime(folder, batch, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(folder / f"{batch}.onnx", options, ["CPUExecutionProvider"])
    return lambda slices: session.run(None, {"slices": slices})[0]


def openvino(folder, batch, threads):
    import openvino

    # It would compute in bfloat16 where the processor can.
    hints = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    model = openvino.Core().compile_model(folder / f"{batch}.xml", "CPU", hints)
    return lambda slices: model(slices)[0]


RUNTIMES = {"onnxruntime": onnxruntime, "openvino": openvino, "torch": pytorch, "compiled": compiled}


def version(name):
    """Of the runtime's package, which is loaded."""
    module = sys.modules[{"compiled": "torch"}.get(name, name)]
    return module.__version__.split("+")[0].split("-")[0]


def read_slices(folder, batch):
    return np.fromfile(folder / "slices.raw", np.float32, batch * SIDE * SIDE).reshape(batch, 1, SIDE, SIDE)


def fix_threads(threads):
    """Before a runtime is loaded."""
    os.environ.update(OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
