"""Which part of a volume is enough to segment one slice of it as the whole volume would be."""

from dataclasses import dataclass

import numpy as np

from .grid import Refused

# Where the network's columns, rows and slices point in each plane, as the model description says.
_FRAMES = {"axial": "LPS", "coronal": "LIP", "sagittal": "PIR"}
_PERMUTATIONS = ((0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 1, 0), (1, 2, 0), (2, 0, 1))  # the first wins ties
_LETTERS = {"L": 0, "R": 0, "P": 1, "A": 1, "S": 2, "I": 2}


@dataclass(frozen=True)
class Slab:
    """Layers `first` to `first + count - 1` along `axis`; the one to keep is layer `kept` of the volume."""

    axis: int
    first: int
    count: int
    kept: int

    def cut(self, voxels):
        """`voxels` is [k, j, i] of the volume."""
        return np.take(voxels, range(self.first, self.first + self.count), axis=2 - self.axis)

    def keep(self, labels):
        """The kept layer of the slab's labels, with one layer along `axis`."""
        return np.take(labels, [self.kept - self.first], axis=2 - self.axis)


def slice_axis(description, grid):
    """The volume's axis that the network's slices follow: the permutation of largest sum of cosines, as the library does."""
    model_input = description["input"]
    letters = model_input.get("orientation") or _FRAMES.get(model_input.get("plane", "acquisition"))
    if letters is None:
        return 2
    cosines = np.abs(np.array(grid.direction))
    best, best_sum = None, -1.0
    for axes in _PERMUTATIONS:
        total = sum(cosines[axis, _LETTERS[letter]] for axis, letter in zip(axes, letters))
        if total > best_sum + 1e-6:
            best, best_sum = axes, total
    return best[2]


def slab(description, grid, point_ras):
    """The slab around the slice through `point_ras` (mm, the volume's own frame), with the neighbours that the network sees.

    At the ends of the volume the slab is thinner: there the network repeats the last slice, in the slab as in the volume.
    """
    axis = slice_axis(description, grid)
    index = np.linalg.inv(grid.to_ras()) @ [*point_ras, 1.0]
    kept = int(np.floor(index[axis] + 0.5)) - grid.start[axis]
    if not 0 <= kept < grid.size[axis]:
        raise Refused("The slice view does not show the volume here. Scroll to a slice of the volume and try again.")
    context = int(description["input"].get("context", 0))
    first = max(kept - context, 0)
    last = min(kept + context, grid.size[axis] - 1)
    return Slab(axis, first, last - first + 1, kept)


def point_shown(slices_to_ras):
    """The point (RAS mm) that lies on the planes of all slice views, of 4x4 matrices; nearest to the first view's centre
    where the planes leave a choice."""
    matrices = [np.asarray(matrix, dtype=float) for matrix in slices_to_ras]
    normals = np.array([matrix[:3, 2] / np.linalg.norm(matrix[:3, 2]) for matrix in matrices])
    centres = np.array([matrix[:3, 3] for matrix in matrices])
    beyond = np.sum(normals * (centres - centres[0]), axis=1)  # distance of each plane from the first centre
    return centres[0] + np.linalg.lstsq(normals, beyond, rcond=1e-6)[0]


def is_exact(description):
    """Whether a previewed slice equals the whole result's: not where intensities are scaled by figures of the volume."""
    return description["input"].get("intensity", {}).get("kind", "none") in ("none", "window")
