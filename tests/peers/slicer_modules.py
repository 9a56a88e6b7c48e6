"""Runs our modules in 3D Slicer's own logic: usage MODULES CT CONFIGURATION WORK OUT.json

The CT goes in as Slicer's volumes in several poses, among them oblique and flipped ones. What comes out is loaded by
Slicer's storage node and compared voxel for voxel, in the place that the volume has.
"""
import json
import os
import sys

import numpy as np
import pydicom
import slicer
import vtk
from slicer_cli import Host, register_executable, register_shared
from vtk.util import numpy_support

modules, ct, configuration, work, out = sys.argv[1:]
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def matrix(rows):
    made = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            made.SetElement(row, column, rows[row][column])
    return made


def numbers(made):
    return np.array([[made.GetElement(row, column) for column in range(4)] for row in range(4)])


def read_ct():
    """Voxels [i, j, k] and the matrix from index to LPS mm."""
    slices = sorted((pydicom.dcmread(entry.path) for entry in os.scandir(ct)), key=lambda s: s.ImagePositionPatient[2])
    voxels = np.stack([s.pixel_array * float(s.RescaleSlope) + float(s.RescaleIntercept) for s in slices], axis=-1)
    affine = np.eye(4)
    affine[:3, 0] = np.array(slices[0].ImageOrientationPatient[:3], float) * slices[0].PixelSpacing[1]
    affine[:3, 1] = np.array(slices[0].ImageOrientationPatient[3:], float) * slices[0].PixelSpacing[0]
    affine[:3, 2] = np.subtract(slices[1].ImagePositionPatient, slices[0].ImagePositionPatient)
    affine[:3, 3] = slices[0].ImagePositionPatient
    return voxels.transpose(1, 0, 2).astype(np.int16), affine


def turned(affine):
    x, y, z = 0.2, -0.15, 0.3
    about = [np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]),
             np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]),
             np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])]
    rotation = np.eye(4)
    rotation[:3, :3] = about[2] @ about[1] @ about[0]
    return rotation @ affine


def stored(voxels, affine, order, flips):
    """The same image with its axes in another order, some of them backwards."""
    voxels = voxels.transpose(order)
    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1.0
    for new, old in enumerate(order):
        backwards = new in flips
        to_old[old, new] = -1.0 if backwards else 1.0
        to_old[old, 3] = voxels.shape[new] - 1 if backwards else 0.0
    return np.flip(voxels, flips) if flips else voxels, affine @ to_old


def restored(voxels, order, flips):
    voxels = np.flip(voxels, flips) if flips else voxels
    return voxels.transpose(np.argsort(order))


def volume_node(host, voxels, affine):
    picture = vtk.vtkImageData()
    picture.SetDimensions(*voxels.shape)
    picture.GetPointData().SetScalars(numpy_support.numpy_to_vtk(voxels.ravel(order="F"), deep=True))
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetAndObserveImageData(picture)
    node.SetIJKToRASMatrix(matrix(LPS @ affine))
    return host.add(node)


def segmentation(path):
    """What Slicer makes of a .seg.nrrd: labels [i, j, k], the matrix to LPS, and its segments."""
    node, storage = slicer.vtkMRMLSegmentationNode(), slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(path)
    assert storage.ReadData(node), path
    found, segments = node.GetSegmentation(), []
    for n in range(found.GetNumberOfSegments()):
        segment = found.GetNthSegment(n)
        tag = vtk.reference("")
        segment.GetTag("TerminologyEntry", tag)
        segments.append({"name": segment.GetName(), "color": list(segment.GetColor()), "value": segment.GetLabelValue(),
                         "terminology": str(tag)})
    image, to_ras = found.GetNthSegment(0).GetRepresentation("Binary labelmap"), vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(to_ras)
    extent = image.GetExtent()
    assert extent[::2] == (0, 0, 0), extent
    labels = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(np.add(extent[1::2], 1), order="F")
    return labels, LPS @ numbers(to_ras), segments


def dice(a, b):
    return 2.0 * np.logical_and(a, b).sum() / (a.sum() + b.sum())


register_executable(modules, "TransUNet")
register_shared(modules, "TransUNet", "Shared TransUNet")
register_executable(modules, "TransUNetTraining")
register_shared(modules, "TransUNetTraining", "Shared Training")
voxels, affine = read_ct()
poses = {
    "plain": (affine, [0, 1, 2], []),
    "oblique": (turned(affine), [0, 1, 2], []),
    "flipped": (affine, [0, 1, 2], [1, 2]),
    "mirrored": (turned(affine), [0, 1, 2], [0]),
    "sagittal": (turned(affine), [1, 2, 0], [0, 2]),
}
answer, plain = {}, None
for title in ("TransUNet", "Shared TransUNet"):
    for name, (place, order, flips) in poses.items():
        folder = os.path.join(work, f"{title} {name}")
        os.makedirs(folder)
        host = Host(folder)
        image, to_lps = stored(voxels, place, order, flips)
        node = host.run(title, input_volume=volume_node(host, image, to_lps), model="phantom", device="cpu",
                        output_labels=host.add(slicer.vtkMRMLSegmentationNode()))
        assert node.GetStatusString() == "Completed", (node.GetStatusString(), node.GetErrorText())
        assert node.GetErrorText() == "" and node.GetOutputText() == "", (node.GetErrorText(), node.GetOutputText())
        labels, found_place, segments = segmentation(host.written(".seg.nrrd"))
        assert np.abs(found_place - to_lps).max() < 1e-6, (name, found_place, to_lps)
        same = restored(labels, order, flips)
        plain = same if plain is None else plain
        answer[f"{title} {name}"] = {"differing": int((same != plain).sum()), "labelled": int((labels > 0).sum()),
                                     "segments": segments}

# The truth that the patient was made from, as Slicer loads it.
truth, truth_place, _ = segmentation(os.path.join(os.path.dirname(ct), "truth.seg.nrrd"))
assert np.abs(truth_place - affine).max() < 1e-6
answer["dice"] = [dice(plain == value, truth == value) for value in range(1, 7)]

# An error's text reaches Slicer in both forms.
for title in ("TransUNet", "Shared TransUNet"):
    host = Host(os.path.join(work, title + " error"))
    os.makedirs(host.folder)
    node = host.run(title, input_volume=volume_node(host, voxels, affine), model="phantom",
                    report=os.path.join(work, "nowhere", "r.json"))
    answer[title + " error"] = [node.GetStatusString(), node.GetErrorText()]

for title in ("TransUNet Training", "Shared Training"):
    host = Host(os.path.join(work, title))
    os.makedirs(host.folder)
    node = host.run(title, configuration=configuration, output=os.path.join(host.folder, "run"),
                    output_model=os.path.join(host.folder, "model.safetensors"))
    assert node.GetStatusString() == "Completed" and node.GetErrorText() == "", node.GetErrorText()
    answer[title] = os.path.getsize(os.path.join(host.folder, "model.safetensors"))
with open(out, "w") as file:
    json.dump(answer, file)
