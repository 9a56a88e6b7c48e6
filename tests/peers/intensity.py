"""Writes to argv[1] volumes with what numpy's percentile and standard deviation make of them."""
import sys

import numpy as np
from safetensors.numpy import save_file

rng = np.random.default_rng(7)
volumes = [
    rng.normal(size=(5, 17, 13)) * 300 - 100,
    rng.integers(-1024, 3000, (9, 40, 50)),
    np.round(rng.exponential(20, (4, 31, 8))),
    np.array([-3.5, 8.0]).reshape(1, 1, 2),
    rng.normal(size=(3, 4, 4)) * 1e-30 + np.float32(1e6),
    rng.normal(size=(2, 200, 200)) * 10.0 ** rng.integers(-20, 20, (2, 200, 200)),
]
out = {}
for n, volume in enumerate(volumes):
    x = np.ascontiguousarray(volume, np.float32)
    out[f"{n}.volume"] = x
    x = x.astype(np.float64)
    for low, high in ((0.5, 99.5), (0, 100), (1, 99.9), (33.3, 66.6)):
        a, b = np.percentile(x, [low, high])
        out[f"{n}.{low}-{high}"] = ((np.clip(x, a, b) - a) / (b - a if b > a else 1)).astype(np.float32)
    out[f"{n}.zscore"] = ((x - x.mean()) / (x.std() if x.max() > x.min() else 1)).astype(np.float32)
save_file(out, sys.argv[1])
