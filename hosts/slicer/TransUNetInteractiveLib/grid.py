"""A MRML volume node as voxels and a grid in LPS mm, or the reason why it cannot be segmented."""

from dataclasses import dataclass

import numpy as np
from vtk import vtkMatrix4x4
from vtk.util.numpy_support import vtk_to_numpy

from .library import transunet


class Refused(ValueError):
    """The text says what cannot be done, why, and what to do about it."""


@dataclass(frozen=True)
class Grid:
    """Rows of `direction` are the unit vectors of the i, j, k axes; `origin` is the centre of the first voxel; LPS mm."""

    size: tuple
    spacing: tuple
    origin: tuple
    direction: tuple
    start: tuple  # VTK's index of the first voxel, (0, 0, 0) as a rule

    def to_lps(self):
        """4x4: VTK's index to LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = (np.array(self.direction) * np.array(self.spacing)[:, None]).T
        matrix[:3, 3] = np.array(self.origin) - matrix[:3, :3] @ np.array(self.start)
        return matrix

    def to_ras(self):
        """4x4: VTK's index to RAS mm."""
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ self.to_lps()

    def part(self, axis, first, count):
        """The grid of `count` layers along `axis`, from layer `first` of this one on."""
        size, start = list(self.size), list(self.start)
        size[axis], start[axis] = count, start[axis] + first
        step = first * self.spacing[axis]
        origin = tuple(o + step * d for o, d in zip(self.origin, self.direction[axis]))
        return Grid(tuple(size), self.spacing, origin, self.direction, tuple(start))

    def volume(self, voxels):
        """A transunet.Volume of `voxels` [k, j, i] on this grid."""
        if voxels.dtype.itemsize > 4 and voxels.dtype.kind in "iu":
            voxels = voxels.astype(np.float64)  # the library takes no 64 bit integers, and computes in float32
        return transunet.Volume.from_array(voxels, self.spacing, self.origin, self.direction)

    def same_place(self, other, tolerance=1e-3):
        """Whether the voxels of both lie at the same positions, within `tolerance` mm at every corner."""
        if self.size != other.size:
            return False
        corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (np.array(self.size) - 1)

        def positions(grid):
            return np.array(grid.origin) + (corners * np.array(grid.spacing)) @ np.array(grid.direction)

        return bool(np.abs(positions(self) - positions(other)).max() <= tolerance)


@dataclass(frozen=True)
class Source:
    """What is segmented. `voxels` is [k, j, i] and shares the memory of `image`, which this keeps."""

    name: str
    grid: Grid
    voxels: np.ndarray
    image: object  # vtkImageData
    modified: int  # when its voxels were last changed, by VTK's count
    files: tuple = ()  # of the DICOM series it was loaded from, if they are known

    def is_still(self, other):
        """Whether `other` is the same voxels in the same place: another patient may have this one's node name and grid."""
        return self.image is other.image and self.modified == other.modified and self.grid == other.grid


def source(node, files=()):
    """Reads a volume node; `files` are those of the DICOM series that it was loaded from."""
    name = node.GetName() if node is not None else None
    if node is None:
        raise Refused("No volume is chosen. Choose the volume to segment.")
    if node.IsA("vtkMRMLSequenceNode"):
        raise Refused(f"{name} is a sequence of volumes. Choose one volume of it, such as the one its browser shows.")
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        raise Refused(f"{name} is not a scalar volume but a {node.GetNodeTagName()}. Choose an image volume.")
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise Refused(f"{name} is a label map, not an image. Choose the image that it belongs to.")
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        raise Refused(f"{name} has no voxels. Load it again, or choose another volume.")
    components = image.GetNumberOfScalarComponents()
    if components != 1:
        raise Refused(
            f"{name} has {components} values in each voxel (colour, diffusion or time), one is expected. "
            "Extract one of them with the module Vector to Scalar Volume, or choose another volume."
        )
    grid = _grid(node, image.GetExtent())
    scalars = image.GetPointData().GetScalars()
    voxels = vtk_to_numpy(scalars).reshape(grid.size[::-1])
    return Source(name, grid, voxels, image, scalars.GetMTime(), tuple(files))


def _grid(node, extent):
    matrix = vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ [[matrix.GetElement(r, c) for c in range(4)] for r in range(4)]
    start = np.array(extent[0::2])
    steps = to_lps[:3, :3].T  # one row for each axis
    spacing = np.linalg.norm(steps, axis=1)
    if not np.all(np.isfinite(to_lps)) or not np.all(spacing > 0):
        raise Refused(f"{node.GetName()} has a grid without extent. Set its spacing in the module Volumes.")
    direction = steps / spacing[:, None]
    cosines = np.abs(direction @ direction.T - np.eye(3))
    if cosines.max() > 1e-3:
        raise Refused(
            f"{node.GetName()} has axes that are not at right angles (cosine {cosines.max():.4f}), as of a tilted gantry. "
            "Resample it to a grid with right angles first (module Resample Scalar/Vector/DWI Volume)."
        )
    return Grid(
        tuple(int(last - first + 1) for first, last in zip(extent[0::2], extent[1::2])),
        tuple(spacing.tolist()),
        tuple((to_lps[:3, 3] + to_lps[:3, :3] @ start).tolist()),
        tuple(tuple(axis) for axis in direction.tolist()),
        tuple(int(first) for first in start),
    )
