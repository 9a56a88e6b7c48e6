"""Checks of hosts/slicer's logic with the real MRML library: usage CHECK DEMO-FOLDER [HIPPOCAMPUS.nii.gz].

DEMO-FOLDER is what `transunet demo` leaves. A failed check is an AssertionError.
"""

import itertools
import os
import sys
import tempfile

import numpy as np
import scenes
import slicer
import vtk
from scenes import HIPPOCAMPUS, PHANTOM, add_volume, patient, posed, refusal, rotation, segments_of, state, transunet
from TransUNetInteractiveLib import dicom_source, grid, preview, segments
from TransUNetInteractiveLib.logic import Logic, check, show


def segment(logic, node, model=PHANTOM, **options):
    return logic.start(grid.source(node), model, "cpu", **options).result()


def same_segments(found, expected, tolerance):
    assert list(found) == list(expected), (list(found), list(expected))
    for name, (color, terminology, matrix, mask) in found.items():
        other = expected[name]
        assert np.allclose(color, other[0], atol=2e-6), (name, color, other[0])
        assert terminology == other[1], (name, terminology, other[1])
        assert mask.shape == other[3].shape and (mask == other[3]).all(), name
        corners = np.array([[*corner, 1] for corner in itertools.product(*[(0, n - 1) for n in mask.shape[::-1]])])
        assert np.abs((matrix - other[2]) @ corners.T).max() < tolerance, (name, matrix, other[2])


def places(demo):
    """Every pose of the axes, oblique ones too, against the `.seg.nrrd` that the library makes of the file that Slicer writes."""
    voxels, to_lps = patient(demo)
    voxels, to_lps = voxels[10:14, 8:118, 4:120], to_lps @ _shift(4, 8, 10)  # no two sizes alike
    tilted = rotation(17, 0) @ rotation(-11, 1) @ rotation(23, 2)
    poses = [(a, f) for a in itertools.permutations(range(3)) for f in itertools.product([False, True], repeat=3)]
    logic, reference = Logic(), None
    with tempfile.TemporaryDirectory() as folder, transunet.Runtime("cpu") as runtime:
        model = runtime.load(PHANTOM)
        for n, (axes, flips) in enumerate(poses):
            scene = slicer.vtkMRMLScene()
            turned, affine = posed(voxels, to_lps, axes, flips)
            if n % 2:
                affine = tilted @ affine
            node = add_volume(scene, turned, affine)
            found = segments_of(show(segment(logic, node), node))
            assert len(found) == 6 and found["Liver"][3].any()

            path, result = os.path.join(folder, "volume.nrrd"), os.path.join(folder, "labels.seg.nrrd")
            scenes.write_volume(node, path)
            model.segment(transunet.Volume.open(path)).write(result)
            same_segments(found, segments_of(scenes.read_segmentation(result)), 1e-4)

            # The same patient, so the same labels, whatever the order of its voxels.
            back = {
                name: np.transpose(np.flip(s[3], [2 - m for m in range(3) if flips[m]]), _inverse(axes))
                for name, s in found.items()
            }
            reference = reference or back
            assert all((back[name] == reference[name]).all() for name in reference), (axes, flips)


def _shift(i, j, k):
    matrix = np.eye(4)
    matrix[:3, 3] = i, j, k
    return matrix


def _inverse(axes):
    """How to transpose [k, j, i] of a posed volume to that of the original."""
    order = [0, 0, 0]
    for n, axis in enumerate(axes):
        order[2 - axis] = 2 - n
    return order


def truth(demo):
    """Names, colours, codes and voxels against the made-up patient's own; the table against voxels that are counted here."""
    voxels, to_lps = patient(demo)
    scene = slicer.vtkMRMLScene()
    node = add_volume(scene, voxels, to_lps)
    result = segment(Logic(), node)
    found = segments_of(show(result, node))
    expected = segments_of(scenes.read_segmentation(os.path.join(demo, "truth.seg.nrrd")))
    assert set(found) == set(expected), (set(found), set(expected))
    for row in result.statistics:
        color, terminology, matrix, mask = found[row.name]
        theirs = expected[row.name]
        assert np.allclose(color, theirs[0], atol=2e-6) and terminology == theirs[1], row.name
        dice = 2 * (mask & theirs[3]).sum() / (mask.sum() + theirs[3].sum())
        assert dice > 0.95, (row.name, dice)
        assert abs(row.volume_ml - mask.sum() * abs(np.linalg.det(matrix[:3, :3])) / 1000) < 1e-6
        assert abs(row.mean - voxels[mask].mean()) < 1e-3
        assert np.allclose(np.array(row.rgb) / 255, color, atol=2e-6)
    category = "Segmentation category and type - DICOM master list~SCT^123037004^Anatomical Structure"
    region = "Anatomic codes - DICOM master list~^^~^^"
    assert found["Left kidney"][1] == f"{category}~SCT^64033007^Kidney~SCT^7771000^Left~{region}"
    assert found["Aorta"][1] == f"{category}~SCT^15825003^Aorta~^^~{region}"


def previews(demo, hippocampus):
    """A previewed slice is the whole result's slice."""
    voxels, to_lps = patient(demo)
    logic = Logic()
    for axes, flips in [
        ((0, 1, 2), (False, False, False)),
        ((2, 0, 1), (True, False, True)),
        ((1, 2, 0), (False, True, True)),
    ]:
        turned, affine = posed(voxels, to_lps, axes, flips)
        scene = slicer.vtkMRMLScene()
        node = add_volume(scene, turned, affine)
        _compare_previews(logic, node, PHANTOM, axes.index(2), exact=True)

    # Five slices of context and figures of the volume: exact where the figures are fixed, close where they are not.
    brain = transunet.Volume.open(hippocampus)
    scene = slicer.vtkMRMLScene()
    node = add_volume(scene, brain.array(), brain.geometry.affine, "MR")
    axis = int(np.argmax(np.abs(brain.geometry.affine[1, :3])))
    with tempfile.TemporaryDirectory() as folder:
        fixed = os.path.join(folder, "fixed.safetensors")
        _with_window(HIPPOCAMPUS, fixed, brain.array())
        _compare_previews(logic, node, fixed, axis, exact=True)
    _compare_previews(logic, node, HIPPOCAMPUS, axis, exact=False)


def _compare_previews(logic, node, model, axis, exact):
    source = grid.source(node)
    whole = segment(logic, node, model).voxels
    count = source.grid.size[axis]
    overlap, total = 0, 0
    for index in sorted({0, 1, count // 3, count // 2, count - 2, count - 1}):
        center = (np.array(source.grid.size) - 1) / 2
        center[axis] = index + 0.3  # between two slices: the nearer one
        point = (source.grid.to_ras() @ [*center, 1])[:3]
        result = logic.start_preview(source, model, point, "cpu").result()
        assert result.exact == exact
        assert result.grid == source.grid.part(axis, index, 1)
        expected = np.take(whole, [index], axis=2 - axis)
        assert result.voxels.shape == expected.shape
        if exact:
            assert (result.voxels == expected).all(), (model, axis, index)
        overlap += 2 * ((result.voxels == expected) & (expected > 0)).sum()
        total += (result.voxels > 0).sum() + (expected > 0).sum()

        preview_node = show(result, node)
        for _, _, matrix, mask in segments_of(preview_node).values():
            assert mask.shape[2 - axis] == 1
            assert np.allclose(matrix[:3, 3], (source.grid.to_ras() @ [*np.eye(3)[axis] * index, 1])[:3], atol=1e-6)
        assert node.GetScene().GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
        node.GetScene().RemoveNode(preview_node)
    assert total > 0 and overlap / total > 0.95, (model, overlap / total)


def _with_window(path, out, voxels):
    """A copy of a bundle whose intensities are clipped to a fixed window."""
    data = open(path, "rb").read()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].decode()
    old = "kind: percentile\\n    low: 0.5\\n    high: 99.5"
    assert header.count(old) == 1
    low, high = np.percentile(voxels, [0.5, 99.5])
    header = header.replace(old, f"kind: window\\n    low: {low:.1f}\\n    high: {high:.1f}").encode()
    header += b" " * (-len(header) % 8)
    open(out, "wb").write(len(header).to_bytes(8, "little") + header + data[8 + length :])


def views(_demo):
    """Where the slice views cross."""
    turn = rotation(20, 0) @ rotation(-30, 2)
    planes = []
    for normal, offset in ((2, 4.0), (0, -7.0), (1, 11.0)):
        axes = [n for n in range(3) if n != normal]
        plane = np.eye(4)
        plane[:3, :3] = np.eye(3)[:, [*axes, normal]]
        plane[normal, 3] = offset
        plane[axes[0], 3] = 99.0  # a view shows its plane from any point of it
        planes.append(turn @ plane)
    assert np.allclose(preview.point_shown(planes), (turn @ [-7.0, 11.0, 4.0, 1.0])[:3])
    assert np.allclose(preview.point_shown(planes[:1]), planes[0][:3, 3])
    assert np.allclose(preview.point_shown([planes[0], planes[0]]), planes[0][:3, 3])


def cancel(demo):
    """A cancelled job raises, and nothing has changed in the scene."""
    voxels, to_lps = patient(demo)
    scene = slicer.vtkMRMLScene()
    node = add_volume(scene, np.concatenate([voxels] * 8), to_lps)
    logic = Logic()
    shown = show(logic.start_preview(grid.source(node), PHANTOM, to_lps[:3, 3] * [-1, -1, 1], "cpu").result(), node)
    before = state(scene)
    job = logic.start(grid.source(node), PHANTOM, "cpu", batch=1)
    while job.progress is None or job.progress.done < 3:
        assert not job.poll(0.01), "the job ended before it could be cancelled"
    job.cancel()
    refusal(lambda: show(job.result(), node), "Cancelled")
    assert job.progress.done < voxels.shape[0] * 8
    assert job.poll() and state(scene) == before and shown.GetScene() is scene
    assert len(segment(logic, node).statistics) == 6  # the logic goes on


def again(demo):
    """A second run replaces the first one's segments where they stand; a person's own segment and settings stay."""
    voxels, to_lps = patient(demo)
    scene = slicer.vtkMRMLScene()
    node = add_volume(scene, voxels[8:16], to_lps @ _shift(0, 0, 8))
    logic = Logic()
    first = segment(logic, node)
    target = show(first, node)
    segmentation, display = target.GetSegmentation(), target.GetDisplayNode()
    own = segmentation.GetSegment(segmentation.AddEmptySegment("mine", "My lesion", [1.0, 0.0, 0.0]))
    layer = own.GetRepresentation("Binary labelmap")  # the layer of the model's segments, where Slicer paints it too
    assert layer is segmentation.GetNthSegment(0).GetRepresentation("Binary labelmap")
    scenes.array_of(layer)[2, 10:20, 30:40] = own.GetLabelValue()
    hidden = segmentation.GetNthSegmentID(2)
    display.SetSegmentVisibility(hidden, False)
    order, before = list(segmentation.GetSegmentIDs()), segments_of(target)

    # Other voxels, so that a result that was not replaced is seen.
    node.GetImageData().GetPointData().GetScalars().Fill(-1000)
    assert show(segment(logic, node), node, target) is target
    assert list(segmentation.GetSegmentIDs()) == order
    assert not display.GetSegmentVisibility(hidden) and display.GetSegmentVisibility(order[0])
    after = segments_of(target)
    assert (after["My lesion"][3] == before["My lesion"][3]).all() and after["My lesion"][3].sum() == 100
    assert before["Liver"][3].any() and not after["Liver"][3].any()

    segmentation.CreateRepresentation("Closed surface")
    segmentation.SetSourceRepresentationName("Closed surface")
    was = state(scene)
    refusal(lambda: show(first, node, target), "not of label maps")
    assert state(scene) == was


def transforms(demo):
    """The segmentation comes under the volume's transform; under another one it is refused."""
    voxels, to_lps = patient(demo)
    scene = slicer.vtkMRMLScene()
    node = add_volume(scene, voxels[12:14], to_lps)
    moved = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Registration")
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy((_shift(5, 6, 7) @ rotation(30, 2)).ravel().tolist())
    moved.SetMatrixTransformToParent(matrix)
    plain = show(segment(Logic(), node), node)
    node.SetAndObserveTransformNodeID(moved.GetID())
    result = segment(Logic(), node)
    target = show(result, node)
    assert target.GetParentTransformNode() is moved
    same_segments(segments_of(target), segments_of(plain), 1e-9)
    was = state(scene)
    text = refusal(lambda: show(result, node, plain), "no transform", "Registration")
    assert state(scene) == was, text


def refusals(demo):
    """What cannot be segmented is refused with the reason and what to do; the scene stays as it is."""
    scene = slicer.vtkMRMLScene()
    cube = np.zeros((3, 4, 5), np.int16)
    refusal(lambda: grid.source(None), "No volume is chosen")
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    refusal(lambda: grid.source(empty), "Empty has no voxels")
    labels = add_volume(scene, cube, np.eye(4), "Labels", "vtkMRMLLabelMapVolumeNode")
    refusal(lambda: grid.source(labels), "is a label map")
    color = add_volume(scene, np.zeros((3, 4, 5, 3), np.uint8), np.eye(4), "Photo", "vtkMRMLVectorVolumeNode")
    refusal(lambda: grid.source(color), "3 values in each voxel", "Vector to Scalar")
    times = add_volume(scene, np.zeros((3, 4, 5, 7), np.int16), np.eye(4), "Cine")
    refusal(lambda: grid.source(times), "Cine has 7 values")
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Beats")
    refusal(lambda: grid.source(sequence), "is a sequence", "Choose one volume")
    refusal(lambda: grid.source(scene.AddNewNodeByClass("vtkMRMLModelNode", "Surface")), "not a scalar volume")
    sheared = np.eye(4)
    sheared[1, 2] = 0.3
    refusal(lambda: grid.source(add_volume(scene, cube, sheared, "Gantry")), "not at right angles", "Resample")

    voxels, to_lps = patient(demo)
    node = add_volume(scene, voxels[:2], to_lps)
    logic = Logic()
    was = state(scene)
    refusal(
        lambda: segment(logic, node, os.path.join(demo, "missing.safetensors")),
        "missing.safetensors",
        "Check that the file",
    )
    refusal(lambda: segment(logic, node, os.path.join(demo, "ct", "slice-001.dcm")), "slice-001.dcm")
    far = logic.start_preview(grid.source(node), PHANTOM, [0, 0, 9000], "cpu")
    refusal(far.result, "does not show the volume")
    result = segment(logic, node)
    assert state(scene) == was
    check(result, node)
    changes = {
        "moved": lambda: node.SetOrigin(1.0, 2.0, 3.0),
        "edited": lambda: node.GetImageData().GetPointData().GetScalars().Modified(),
        "another patient on the same grid": lambda: scene.RemoveNode(node),
    }
    for what, change in changes.items():
        result = segment(logic, node)
        change()
        if node.GetScene() is None:
            node = add_volume(scene, voxels[:2] + np.int16(1), (scenes.RAS @ result.source.grid.to_ras()))
            assert grid.source(node).grid == result.source.grid
        was = state(scene)
        refusal(lambda: show(result, node), "was changed while it was segmented")
        assert state(scene) == was, what
    nan = add_volume(scene, np.full((2, 20, 20), np.nan, np.float32), np.eye(4), "Broken")
    refusal(lambda: segment(logic, nan), "expected a finite number")


def gpu(_demo):
    """Asked for a GPU that is not there, the logic says what to do, and goes on with the CPU."""
    node = add_volume(slicer.vtkMRMLScene(), np.zeros((2, 32, 32), np.int16), np.eye(4))
    refusal(lambda: Logic().start(grid.source(node), PHANTOM, "cuda").result(), "Choose another device")


def types(demo):
    """Every type of voxel that a volume node can have gives the same labels, where the values fit."""
    voxels, to_lps = patient(demo)
    voxels, to_lps = voxels[12:14], to_lps @ _shift(0, 0, 12)
    logic, expected = Logic(), None
    for kind in (np.int16, np.int32, np.int64, np.float32, np.float64):
        node = add_volume(slicer.vtkMRMLScene(), voxels.astype(kind), to_lps)
        found = segment(logic, node).voxels
        expected = found if expected is None else expected
        assert found.any() and (found == expected).all(), kind


def dicom(demo):
    """A volume whose DICOM files are known gives a DICOM SEG of its series; a changed one says why not."""
    series = os.path.join(demo, "ct")
    voxels, to_lps = patient(demo)
    node = add_volume(slicer.vtkMRMLScene(), voxels, to_lps)
    paths = {f"1.2.{n}": os.path.join(series, name) for n, name in enumerate(sorted(os.listdir(series)))}
    assert dicom_source.files(node, paths.get) == ()
    node.SetAttribute("DICOM.instanceUIDs", " ".join(paths))
    files = dicom_source.files(node, paths.get)
    assert len(files) == voxels.shape[0]
    assert dicom_source.files(node, {**paths, "1.2.3": ""}.get) == ()
    logic = Logic()
    result = logic.start(grid.source(node, files), PHANTOM, "cpu").result()
    assert result.no_dicom_seg == "" and (result.voxels == segment(logic, node).voxels).all()
    with tempfile.TemporaryDirectory() as folder:
        import pydicom

        path = os.path.join(folder, "seg.dcm")
        result.labelmap.write_dicom_seg(path)
        written = pydicom.dcmread(path)
        source = pydicom.dcmread(files[0])
        assert written.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
        assert len(written.SegmentSequence) == 6
    check(result, node)

    node.GetImageData().SetScalarComponentFromDouble(3, 4, 5, 0, 77)
    edited = logic.start(grid.source(node, files), PHANTOM, "cpu").result()
    assert "slice 5" in edited.no_dicom_seg, edited.no_dicom_seg
    refusal(lambda: edited.labelmap.write_dicom_seg("never.dcm"), "DICOM")
    moved = add_volume(slicer.vtkMRMLScene(), voxels, _shift(0, 0, 1) @ to_lps)
    assert "elsewhere" in logic.start(grid.source(moved, files), PHANTOM, "cpu").result().no_dicom_seg
    assert segment(logic, node).no_dicom_seg


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
