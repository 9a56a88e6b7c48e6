"""Reads files of ours with other programs: usage OUT.json FILE...

Each file becomes {size, affine (voxel to LPS, 3 rows of 4), voxels (nested [k][j][i] flattened)}; a .seg.nrrd is loaded
by Slicer's own storage node and gives {segments} besides.
"""
import json
import sys

import nibabel
import nrrd
import numpy as np

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def answer(voxels, affine_lps, **more):
    flat = np.asarray(voxels).ravel(order="F").astype(float).tolist()
    return {"size": list(voxels.shape), "affine": np.asarray(affine_lps)[:3].tolist(), "voxels": flat, **more}


def read_nifti(path):
    image = nibabel.load(path)
    qform = image.header.get_qform()
    assert np.allclose(qform, image.affine, atol=1e-4), (path, qform, image.affine)
    units = image.header.get_xyzt_units()[0]
    codes = [int(image.header["sform_code"]), int(image.header["qform_code"])]
    return answer(np.asanyarray(image.dataobj), LPS @ image.affine, units=units, codes=codes, dtype=str(image.get_data_dtype()))


def read_nrrd(path):
    voxels, header = nrrd.read(path)
    assert header["space"] == "left-posterior-superior"
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(header["space directions"]).T
    affine[:3, 3] = header["space origin"]
    return answer(voxels, affine, dtype=str(voxels.dtype))


def read_segmentation(path):
    import slicer
    import vtk
    from vtk.util import numpy_support

    node, storage = slicer.vtkMRMLSegmentationNode(), slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(path)
    assert storage.ReadData(node), path
    segmentation = node.GetSegmentation()
    segments = []
    whole, affine = None, None
    for n in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(n)
        image = segment.GetRepresentation("Binary labelmap")
        to_ras = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(to_ras)
        extent = image.GetExtent()
        shape = [extent[1] - extent[0] + 1, extent[3] - extent[2] + 1, extent[5] - extent[4] + 1]
        labels = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape, order="F")
        if whole is None:
            whole = labels.astype(int)
            affine = LPS @ np.array([[to_ras.GetElement(r, c) for c in range(4)] for r in range(4)])
        tag = vtk.reference("")
        segment.GetTag("TerminologyEntry", tag)
        segments.append({"id": segmentation.GetNthSegmentID(n), "name": segment.GetName(), "color": list(segment.GetColor()),
                         "value": segment.GetLabelValue(), "terminology": str(tag), "extent": list(extent),
                         "voxels": int((labels == segment.GetLabelValue()).sum()),
                         "layers": segmentation.GetNumberOfLayers()})
    return answer(whole, affine, segments=segments)


def read(path):
    if path.endswith(".seg.nrrd"):
        return {"slicer": read_segmentation(path), **read_nrrd(path)}
    return read_nrrd(path) if path.endswith(".nrrd") else read_nifti(path)


json.dump({path: read(path) for path in sys.argv[2:]}, open(sys.argv[1], "w"))
