"""What the checks of the Slicer logic share: volume nodes in any pose, segments read back by Slicer's own code."""

import os
import sys
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "hosts/slicer"))

from TransUNetInteractiveLib.library import transunet  # noqa: E402

PHANTOM = str(ROOT / "models/phantom.safetensors")
HIPPOCAMPUS = str(ROOT / "models/hippocampus.safetensors")
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # from LPS, and back


def patient(folder):
    """Voxels int16 [k, j, i] and affine (index to LPS) of the demo's CT."""
    volume = transunet.Volume.open(os.path.join(folder, "ct"))
    return volume.array().astype(np.int16), volume.geometry.affine


def add_volume(scene, voxels, to_lps, name="CT", kind="vtkMRMLScalarVolumeNode"):
    """`voxels` is [k, j, i], or [k, j, i, component]."""
    components = 1 if voxels.ndim == 3 else voxels.shape[3]
    scalars = numpy_to_vtk(np.ascontiguousarray(voxels).reshape(-1, components), deep=True)
    image = vtk.vtkImageData()
    image.SetDimensions(*voxels.shape[2::-1])
    image.GetPointData().SetScalars(scalars)
    node = scene.AddNewNodeByClass(kind, name)
    node.SetAndObserveImageData(image)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy((RAS @ to_lps).ravel().tolist())
    node.SetIJKToRASMatrix(matrix)
    return node


def posed(voxels, to_lps, axes, flips):
    """The same patient with other index axes: axis n of the result is axis axes[n], from its far end where flips[n]."""
    size = np.array(voxels.shape[::-1])
    step, origin = to_lps[:3, :3], to_lps[:3, 3].copy()
    affine = np.eye(4)
    turned = np.transpose(voxels, [2 - axes[2], 2 - axes[1], 2 - axes[0]])
    for n, (axis, flip) in enumerate(zip(axes, flips)):
        affine[:3, n] = -step[:, axis] if flip else step[:, axis]
        if flip:
            origin += step[:, axis] * (size[axis] - 1)
            turned = np.flip(turned, 2 - n)
    affine[:3, 3] = origin
    return np.ascontiguousarray(turned), affine


def rotation(degrees, axis):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(4)
    a, b = [n for n in range(3) if n != axis]
    matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = c, -s, s, c
    return matrix


def array_of(image):
    """[k, j, i] of a vtkImageData."""
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def matrix_of(image):
    """Index to RAS of a vtkOrientedImageData, as an array."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])


def segments_of(node):
    """{name: (colour, terminology, matrix of voxel centres to RAS, mask [k, j, i])} of a segmentation node."""
    segmentation, found = node.GetSegmentation(), {}
    for n in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(n)
        image = segment.GetRepresentation("Binary labelmap")
        entry = vtk.reference("")
        segment.GetTag("TerminologyEntry", entry)
        start = np.eye(4)
        start[:3, 3] = image.GetExtent()[0::2]
        mask = array_of(image) == segment.GetLabelValue()
        found[segment.GetName()] = (segment.GetColor(), str(entry), matrix_of(image) @ start, mask)
    return found


def read_segmentation(path):
    """A `.seg.nrrd` as 3D Slicer's own storage node reads it."""
    node, storage = slicer.vtkMRMLSegmentationNode(), slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(path)
    assert storage.ReadData(node), path
    return node


def write_volume(node, path):
    """A volume node as 3D Slicer's own storage node writes it."""
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(path)
    assert storage.WriteData(node), path


def state(scene):
    """Everything in a scene that a call could have changed."""
    nodes = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
    texts = []
    for node in nodes:
        text = [node.GetID(), node.GetMTime()]
        if node.IsA("vtkMRMLSegmentationNode"):
            text += [node.GetSegmentation().GetMTime(), list(node.GetSegmentation().GetSegmentIDs())]
        texts.append(text)
    return texts


def refusal(call, *words):
    """`call` must raise; returns the text that a person reads, which must have `words`."""
    from TransUNetInteractiveLib.logic import explain

    try:
        call()
    except Exception as error:
        text = explain(error)
        for word in words:
            assert word in text, (word, text)
        return text
    raise AssertionError(f"not refused: {words}")
