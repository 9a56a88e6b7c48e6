"""Training steps in PyTorch for `compare.py`: a step for each line that it reads. Arguments: folder, threads."""

import json
import os
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

import network


def tell(**answer):
    print(json.dumps(answer), flush=True)


folder = Path(sys.argv[1])
torch.set_num_threads(int(sys.argv[2]))
model = network.TransUNet(9)
model.load_state_dict(load_file(folder / "weights.safetensors"))
model.train()
batch = load_file(folder / "batch.safetensors")
images, labels = batch["images"], batch["labels"].long()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
tell(pid=os.getpid(), threads=torch.get_num_threads(), version=torch.__version__)
for _ in sys.stdin:
    began = time.perf_counter()
    value = network.loss(model(images), labels)
    forward = time.perf_counter()
    optimizer.zero_grad()
    value.backward()
    backward = time.perf_counter()
    optimizer.step()
    end = time.perf_counter()
    tell(
        loss=value.item(),
        seconds=end - began,
        forward=forward - began,
        backward=backward - forward,
        update=end - backward,
    )
