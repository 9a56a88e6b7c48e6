"""PyTorch on the same card for `scripts/gpu-check`: passes and training steps of R50-ViT-B_16 beside ours.

Arguments: the card's index, and what `transunet devices --check cuda:N --json` printed.
"""

import json
import statistics
import sys
import time

import torch

import network

SIDE, CLASSES, TIMES, STEP = 224, 9, 5, 8


def seconds(work):
    """Median after two that warm up."""
    for _ in range(2):
        work()
    times = []
    for _ in range(TIMES):
        torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def forward(model, batch, last, half):
    """Seconds of a pass, from slices in main memory to labels there."""
    slices = torch.rand(batch, 1, SIDE, SIDE)

    def work():
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=half):
            x = slices.cuda()
            model(x.contiguous(memory_format=torch.channels_last) if last else x).argmax(1).to(torch.uint8).cpu()

    return seconds(work)


def training(half):
    model = network.TransUNet(CLASSES).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    images, labels = torch.rand(STEP, 1, SIDE, SIDE).cuda(), torch.randint(CLASSES, (STEP, SIDE, SIDE)).cuda()

    def work():
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            logits = model(images)
        optimizer.zero_grad()
        network.loss(logits.float(), labels).backward()
        optimizer.step()

    return seconds(work)


def main():
    torch.cuda.set_device(int(sys.argv[1]))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    ours = json.load(open(sys.argv[2]))
    model = network.TransUNet(CLASSES).cuda().eval()
    last = network.TransUNet(CLASSES).cuda().eval().to(memory_format=torch.channels_last)
    kinds = [
        ("eager, float32", model, False, False),
        ("channels last, float32", last, True, False),
        ("channels last, bfloat16", last, True, True),
        ("compiled, float32", torch.compile(model), False, False),
    ]
    print(f"\nPyTorch {torch.__version__} on {torch.cuda.get_device_name()}, ms a slice, and transunet's part of it\n")
    print("| batch | transunet | " + " | ".join(name for name, *_ in kinds) + " |")
    print("|---" * (2 + len(kinds)) + "|")
    medians = {(passes["batch"], passes["precision"]): passes["seconds"]["median"] for passes in ours["passes"]}
    for batch in sorted({batch for batch, _ in medians}):
        cells = []
        for _, network_, channels_last, half in kinds:
            theirs = forward(network_, batch, channels_last, half)
            # In bfloat16 too, where the card has it.
            mine = medians.get((batch, "bf16" if half else "f32"), medians[batch, "f32"])
            cells.append(f"{1e3 * theirs / batch:.2f} ({mine / theirs:.2f})")
        words = ", ".join(f"{1e3 * median / batch:.2f} {name}" for (n, name), median in medians.items() if n == batch)
        print(f"| {batch} | {words} | " + " | ".join(cells) + " |", flush=True)
    mine = ours["step"]["median"]
    steps = [(name, training(half)) for name, half in [("float32", False), ("bfloat16", True)]]
    words = ", ".join(f"PyTorch {name} {theirs:.3f} s ({mine / theirs:.2f})" for name, theirs in steps)
    print(f"\nTraining step of {STEP}: transunet {mine:.3f} s, {words}")


if __name__ == "__main__":
    main()
