"""Writes volumes with pynrrd, nibabel and slicer-core, and what they say about each: usage FOLDER [FILE...].

index.json lists for each file its size, voxel-to-LPS matrix (3 rows of 4) and a file with its voxels, f32 [k, j, i].
"""
import json
import os
import sys

import nibabel
import nrrd
import numpy as np

folder, real = sys.argv[1], sys.argv[2:]
rng = np.random.default_rng(7)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
index = []


def rotation(x, y, z):
    cx, cy, cz, sx, sy, sz = *np.cos([x, y, z]), *np.sin([x, y, z])
    return (np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]]) @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
            @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]]))


def matrix(axes, spacing, origin):
    affine = np.eye(4)
    affine[:3, :3] = axes @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


OBLIQUE = matrix(rotation(0.3, -0.2, 0.5), [0.7, 0.9, 2.5], [-81.25, 12.5, 1033.0])
FLIPPED = matrix(rotation(0.1, 0.2, 2.9) @ np.diag([1, 1, -1]), [1.5, 0.5, 4.0], [5.0, -7.0, 11.0])


def numbers(dtype, shape=(7, 5, 4)):
    if np.issubdtype(dtype, np.integer):
        info = np.iinfo(dtype)
        values = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
        values.flat[:2] = info.min, info.max
        return values
    return (rng.standard_normal(shape) * 1000).astype(dtype)


def expect(path, voxels, affine_lps):
    """voxels as (i, j, k) in f64"""
    name = f"truth{len(index)}.f32"
    np.asarray(voxels, np.float64).astype("<f4").ravel(order="F").tofile(os.path.join(folder, name))
    index.append({"file": path, "size": list(voxels.shape[:3]), "affine": np.asarray(affine_lps)[:3].tolist(), "voxels": name})


def path(name):
    return os.path.join(folder, name)


# pynrrd: every type, byte order, encoding and space
SPACES = {"left-posterior-superior": np.eye(4), "RAS": LPS, "left-anterior-superior": np.diag([1.0, -1.0, 1.0, 1.0])}
n = 0
for kind in "u1 i1 u2 i2 u4 i4 u8 i8 f4 f8".split():
    for endian in ("little", "big"):
        for encoding in ("raw", "gzip", "ascii"):
            if kind in ("u8", "i8") and encoding == "ascii":
                continue  # pynrrd writes 17 digits, then cannot read them as integers
            n += 1
            space = list(SPACES)[n % 3]
            affine = [OBLIQUE, FLIPPED][n % 2]
            stored = np.linalg.inv(SPACES[space]) @ affine
            voxels = numbers(np.dtype(kind))
            file = path(f"{kind}_{endian}_{encoding}.nrrd")
            header = {"space": space, "space directions": stored[:3, :3].T, "space origin": stored[:3, 3],
                      "encoding": encoding, "endian": endian, "kinds": ["domain"] * 3}
            # pynrrd writes the bytes in the array's own order whatever the field says
            if endian == "big" and encoding != "ascii" and voxels.itemsize > 1:
                voxels = voxels.astype(voxels.dtype.newbyteorder(">"))
            nrrd.write(file, voxels, header)
            back, about = nrrd.read(file)
            assert np.array_equal(back, voxels), file
            expect(file, back, affine)

voxels = numbers(np.dtype("i2"))
header = {"space": "LPS", "space directions": FLIPPED[:3, :3].T, "space origin": FLIPPED[:3, 3], "encoding": "gzip"}
nrrd.write(path("detached.nhdr"), voxels, header, detached_header=True)
expect(path("detached.nhdr"), voxels, FLIPPED)
directions = np.vstack([[np.nan] * 3, OBLIQUE[:3, :3].T])
nrrd.write(path("list_axis.nrrd"), voxels[None], {**header, "space directions": directions, "space origin": OBLIQUE[:3, 3]})
expect(path("list_axis.nrrd"), voxels, OBLIQUE)

# nibabel: every type and byte order, scaling, sform and qform
for n, kind in enumerate("u1 i1 u2 i2 u4 i4 u8 i8 f4 f8".split()):
    for endian in "<>":
        header = nibabel.Nifti1Header(endianness=endian)
        header.set_data_dtype(np.dtype(kind).newbyteorder(endian))
        header.set_xyzt_units("mm", "sec")
        shape = (7, 5, 4) if n % 2 else (7, 5, 4, 1)
        voxels = numbers(np.dtype(kind), shape)
        image = nibabel.Nifti1Image(voxels, None, header)
        ras = LPS @ [OBLIQUE, FLIPPED][n % 2]
        if endian == "<":
            image.set_sform(ras, 1)
            image.set_qform(np.eye(4), 0)
        else:
            image.set_qform(ras, 2)
            image.set_sform(None, 0)
        if kind in ("i2", "u1", "f4"):
            image.header.set_slope_inter(0.0371, -1024.5)
        file = path(f"{kind}_{'be' if endian == '>' else 'le'}.nii" + (".gz" if n % 3 else ""))
        nibabel.save(image, file)
        real.append(file)

for file in real:
    if file.endswith(".nrrd"):
        voxels, header = nrrd.read(file)
        assert header["space"] == "left-posterior-superior"
        expect(file, voxels, np.column_stack([*header["space directions"], header["space origin"]]))
        continue
    image = nibabel.load(file)
    voxels = image.get_fdata(dtype=np.float64)
    expect(file, voxels.reshape(voxels.shape[:3]), LPS @ image.affine)

# 3D Slicer's own writer
import slicer  # noqa: E402
import vtk  # noqa: E402
from vtk.util import numpy_support  # noqa: E402

voxels = numbers(np.dtype("i2"))
picture = vtk.vtkImageData()
picture.SetDimensions(*voxels.shape)
picture.GetPointData().SetScalars(numpy_support.numpy_to_vtk(voxels.ravel(order="F"), deep=True))
node = slicer.vtkMRMLScalarVolumeNode()
node.SetAndObserveImageData(picture)
to_ras = vtk.vtkMatrix4x4()
ras = LPS @ OBLIQUE
for row in range(4):
    for column in range(4):
        to_ras.SetElement(row, column, ras[row, column])
node.SetIJKToRASMatrix(to_ras)
for name in ("slicer.nrrd", "slicer.nhdr", "slicer.nii.gz"):
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(path(name))
    assert storage.WriteData(node), name
    expect(path(name), voxels, OBLIQUE)

json.dump(index, open(path("index.json"), "w"))
