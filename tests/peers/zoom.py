"""Writes to argv[1] what scipy.ndimage makes of slices of many sizes, and for which pairs of sizes it zeroes the last pixel."""
import sys

import numpy as np
from safetensors.numpy import save_file
from scipy import ndimage

rng = np.random.default_rng(2021)
pairs = [
    ((512, 512), (224, 224)), ((224, 224), (512, 512)), ((154, 154), (96, 96)), ((512, 512), (224, 320)), ((80, 80), (64, 64)),
    ((35, 51), (64, 64)), ((1, 9), (5, 4)), ((9, 9), (1, 1)), ((2, 2), (3, 7)), ((8, 30), (8, 16)), ((100, 3), (99, 50)),
]  # fmt: skip
while len(pairs) < 60:
    a, b, c, d = (int(x) for x in rng.integers(2, 41, 4))
    pairs.append(((a, b), (c, d)))

out = {}
for n, (source, target) in enumerate(pairs):
    smooth = ndimage.gaussian_filter(rng.normal(size=source), 1.5) * 800
    image = (smooth + rng.normal(size=source) * 100 - 200).astype(np.float32)
    label = rng.integers(0, 9, source).astype(np.uint8)
    factor = (target[0] / source[0], target[1] / source[1])
    # The true edge: the same coordinates, kept inside the image.
    at = [
        np.minimum(np.arange(t) * ((s - 1) / (t - 1) if t > 1 else 1.0), s - 1)
        for s, t in zip(source, target)
    ]
    at = np.meshgrid(*at, indexing="ij")
    for order, x in ((0, label), (1, image), (3, image)):
        out[f"{n}.scipy{order}"] = ndimage.zoom(x, factor, order=order)
        out[f"{n}.exact{order}"] = ndimage.map_coordinates(x, at, order=order)
        assert out[f"{n}.scipy{order}"].shape == target
    out[f"{n}.image"], out[f"{n}.label"] = image, label

rows = []
sizes = [*range(2, 65), 96, 112, 128, 154, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 1024]
for a in sizes:
    for b in sizes:
        if a != b:
            zoomed = ndimage.zoom(np.ones(a, np.float32), b / a, order=0)
            assert len(zoomed) == b
            rows.append((a, b, int(zoomed[-1] == 0)))
out["edges"] = np.array(rows, np.int64)
save_file({name: np.ascontiguousarray(x) for name, x in out.items()}, sys.argv[1])
