"""Peers of the weights tests: scipy's zoom and the safetensors package."""
import hashlib
import sys

import numpy as np


def zoom(source, target, *cases):
    """Cases "rows,columns,rows,columns,hidden": float32 grids one after the other, zoomed as the original does."""
    from scipy import ndimage

    data = np.fromfile(source, "<f4")
    out = []
    for case in cases:
        r, c, r2, c2, hidden = map(int, case.split(","))
        grid, data = data[: r * c * hidden].reshape(r, c, hidden), data[r * c * hidden :]
        out.append(ndimage.zoom(grid, (r2 / r, c2 / c, 1), order=1).astype("<f4").ravel())
        assert out[-1].size == r2 * c2 * hidden, case
    np.concatenate(out).tofile(target)


def bundle(path):
    """Metadata keys, then name, dtype, shape and sha256 of every tensor."""
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        print("metadata", *(f"{key}:{hashlib.sha256(value.encode()).hexdigest()}" for key, value in file.metadata().items()))
        for name in file.keys():
            tensor = file.get_tensor(name)
            shape = "x".join(map(str, tensor.shape)) or "scalar"
            print(name, tensor.dtype, shape, hashlib.sha256(np.ascontiguousarray(tensor).tobytes()).hexdigest())


if __name__ == "__main__":
    {"zoom": zoom, "bundle": bundle}[sys.argv[1]](*sys.argv[2:])
