"""Labels on a grid become segments of a vtkMRMLSegmentationNode: names, colours, codes, voxels in their place."""

import numpy as np
import slicer
from vtk import vtkMatrix4x4
from vtk.util.numpy_support import numpy_to_vtk

from .grid import Refused

_CATEGORIES = "Segmentation category and type - DICOM master list"
_ANATOMY = "Anatomic codes - DICOM master list"
_LABELMAP = "Binary labelmap"


def segment_id(model_name, label):
    """One model's label has the same segment in every run, so that a second run replaces the first."""
    return f"TransUNet_{model_name}_{label.value}".replace(" ", "_").replace(";", "_").replace("|", "_")


def terminology(label):
    """The text of a segment's terminology tag."""

    def code(triplet):
        if triplet is None:
            return "^^"
        return "^".join(
            text.translate(str.maketrans("~^|", "   ")) for text in (triplet.scheme, triplet.value, triplet.meaning)
        )

    return "~".join(
        [_CATEGORIES, code(label.category), code(label.type), code(label.modifier), _ANATOMY, code(label.region), "^^"]
    )


def oriented_image(labels, grid):
    """`labels` is uint8 [k, j, i]; the image owns a copy."""
    image = slicer.vtkOrientedImageData()
    (i, j, k), (columns, rows, slices) = grid.start, grid.size
    image.SetExtent(i, i + columns - 1, j, j + rows - 1, k, k + slices - 1)
    matrix = vtkMatrix4x4()
    matrix.DeepCopy(grid.to_ras().ravel().tolist())
    image.SetImageToWorldMatrix(matrix)
    scalars = numpy_to_vtk(np.ascontiguousarray(labels, dtype=np.uint8).ravel(), deep=True)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    return image


def check_target(segmentation_node, volume_node):
    """Refuses a segmentation that the volume's labels cannot be put into."""
    if segmentation_node.GetTransformNodeID() != volume_node.GetTransformNodeID():
        raise Refused(
            f"{segmentation_node.GetName()} is under {_transform(segmentation_node)}, {volume_node.GetName()} under "
            f"{_transform(volume_node)}. Put both under the same transform (module Transforms), or choose a new segmentation."
        )
    source = segmentation_node.GetSegmentation().GetSourceRepresentationName()
    if segmentation_node.GetSegmentation().GetNumberOfSegments() > 0 and source != _LABELMAP:
        raise Refused(
            f"{segmentation_node.GetName()} is made of {source}, not of label maps. Make the binary labelmap its source "
            "(module Segmentations), or choose a new segmentation."
        )


def _transform(node):
    parent = node.GetParentTransformNode()
    return "no transform" if parent is None else f"the transform {parent.GetName()}"


def new_segmentation(scene, volume_node, name):
    """An empty segmentation node on the volume's grid and under its transform."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    return node


def put(segmentation_node, model_name, labels, voxels, grid):
    """Adds a segment for each of `labels`, whether or not it has voxels, or replaces that of an earlier run where it stands."""
    image = oriented_image(voxels, grid)  # shared by all segments, as Slicer shares layers
    segmentation, display = segmentation_node.GetSegmentation(), segmentation_node.GetDisplayNode()
    was_modifying = segmentation_node.StartModify()
    try:
        if segmentation.GetNumberOfSegments() == 0:
            segmentation.SetSourceRepresentationName(_LABELMAP)
        for label in labels:
            name = segment_id(model_name, label)
            index, before, look = segmentation.GetSegmentIndex(name), "", None
            if index >= 0:
                look = _look(display, name)
                before = (
                    segmentation.GetNthSegmentID(index + 1) if index + 1 < segmentation.GetNumberOfSegments() else ""
                )
                segmentation.RemoveSegment(name)
            segmentation.AddSegment(_segment(label, image), name, before)
            _set_look(display, name, look)
    finally:
        segmentation_node.EndModify(was_modifying)


def _segment(label, image):
    segment = slicer.vtkSegment()
    segment.SetName(label.name)
    segment.SetColor(*(channel / 255 for channel in label.rgb))
    segment.SetLabelValue(label.value)
    segment.SetTag(segment.GetTerminologyEntryTagName(), terminology(label))
    segment.AddRepresentation(_LABELMAP, image)
    return segment


def _look(display, name):
    if display is None:
        return None
    return [
        getattr(display, f"GetSegment{what}")(name)
        for what in ("Visibility", "Opacity2DFill", "Opacity2DOutline", "Opacity3D")
    ]


def _set_look(display, name, look):
    if display is None or look is None:
        return
    for what, value in zip(("Visibility", "Opacity2DFill", "Opacity2DOutline", "Opacity3D"), look):
        getattr(display, f"SetSegment{what}")(name, value)
