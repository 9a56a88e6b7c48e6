"""Reads DICOM SEG of every form with pydicom, highdicom, dcmqi and dcmtk and compares with what was written.

check_seg.py FOLDER...: each holds seg.dcm, labels.raw (uint8 [k, j, i]), expected.json and, if pixels are probabilities,
fractions.raw (uint8 [label, k, j, i]).
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import highdicom
import nrrd
import numpy as np
import pydicom

TOLERANCE_MM = 1e-3


def same(what, got, want):
    assert got == want, f"{what}: got {got!r}, expected {want!r}"


def near(what, got, want, tolerance=TOLERANCE_MM):
    error = np.abs(np.asarray(got, float) - np.asarray(want, float)).max()
    assert error <= tolerance, f"{what}: got {got}, expected {want} (off by {error})"


def triplet(item):
    return [item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning]


def source_index(affine, voxels_to_lps):
    """3x4 integer matrix from another grid's indices to those of the source; refuses grids that do not coincide."""
    square = np.vstack([affine, [0, 0, 0, 1]])
    other = np.vstack([voxels_to_lps, [0, 0, 0, 1]])
    matrix = (np.linalg.inv(square) @ other)[:3]
    rounded = np.rint(matrix)
    off = np.abs(square[:3, :3] @ (matrix - rounded)).max()
    assert off <= TOLERANCE_MM, f"grid is off by {off} mm: {matrix}"
    return rounded.astype(int)


def on_source_grid(size, affine, voxels, voxels_to_lps):
    """Puts `voxels` [i, j, k] of another grid on the source grid; the rest is 0."""
    matrix = source_index(affine, voxels_to_lps)
    out = np.zeros(size, voxels.dtype)
    at = np.argwhere(voxels)
    where = at @ matrix[:, :3].T + matrix[:, 3]
    assert (where >= 0).all() and (where < size).all(), "voxels outside of the source grid"
    out[tuple(where.T)] = voxels[tuple(at.T)]
    return out


def check_pydicom(path, want, labels, affine, pixels):
    seg = pydicom.dcmread(path)
    same("patient", str(seg.PatientName), want["patient"])
    same("study", seg.StudyInstanceUID, want["study"])
    same("frame of reference", seg.FrameOfReferenceUID, want["frame_of_reference"])
    series = seg.ReferencedSeriesSequence[0]
    same("series", series.SeriesInstanceUID, want["series"])
    uids = [instance["uid"] for instance in want["instances"]]
    same("instances", [item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence], uids)

    same("segment numbers", [item.SegmentNumber for item in seg.SegmentSequence], list(range(1, len(want["labels"]) + 1)))
    for item, label in zip(seg.SegmentSequence, want["labels"]):
        kind = item.SegmentedPropertyTypeCodeSequence[0]
        same("category", triplet(item.SegmentedPropertyCategoryCodeSequence[0]), label["category"])
        same("type", triplet(kind), label["type"])
        modifier = kind.get("SegmentedPropertyTypeModifierCodeSequence")
        same("modifier", modifier and triplet(modifier[0]), label["modifier"])
        region = item.get("AnatomicRegionSequence")
        same("region", region and triplet(region[0]), label["region"])
        assert item.TrackingID.endswith(f"(label {label['value']})"), item.TrackingID
        family = item.SegmentationAlgorithmIdentificationSequence[0].AlgorithmFamilyCodeSequence[0]
        same("family", triplet(family), ["123110", "DCM", "Artificial Intelligence"])
        colour = list(item.RecommendedDisplayCIELabValue)
        same("colour", colour, label["cielab"] or colour)

    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    same("frames", len(frames), len(seg.PerFrameFunctionalGroupsSequence))
    label_map = seg.SegmentationType == "LABELMAP"
    voxels = np.zeros_like(pixels)
    seen = []
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence):
        source = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        k = uids.index(source)
        near("position", groups.PlanePositionSequence[0].ImagePositionPatient, want["instances"][k]["position"])
        number = 0 if label_map else groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        if not label_map:
            same("segment index", groups.FrameContentSequence[0].DimensionIndexValues[0], number)
        seen.append((number, k))
        assert frame.any() or not pixels.any(), f"frame of segment {number}, slice {k} is empty"
        voxels[max(number - 1, 0), k] = frame
    same("order of frames", seen, sorted(set(seen)))
    indices = [groups.FrameContentSequence[0]["DimensionIndexValues"] for groups in seg.PerFrameFunctionalGroupsSequence]
    same("dimensions", {index.VM for index in indices}, {len(seg.DimensionIndexSequence)})
    positions = sorted({index.value if label_map else index.value[-1] for index in indices})
    same("position indices", positions, list(range(1, len(positions) + 1)))
    assert (voxels == pixels).all(), "pydicom: voxels differ"


def expected_pixels(folder, want, labels):
    """Values of pixels, [segment, k, j, i]; one segment for all in a label map."""
    values = [label["value"] for label in want["labels"]]
    fractions = folder / "fractions.raw"
    if fractions.exists():
        return np.fromfile(fractions, np.uint8).reshape(len(values), *labels.shape)
    if want["type"] == "labelmap":
        return sum((labels == value).astype(np.uint8) * number for number, value in enumerate(values, 1))[None]
    return np.stack([labels == value for value in values]).astype(np.uint8) * (255 if want["type"] == "fractional" else 1)


def check_highdicom(path, want, labels, affine, pixels):
    seg = highdicom.seg.segread(path)
    same("algorithm", {seg.get_segment_description(n).algorithm_type.value for n in seg.segment_numbers}, {"AUTOMATIC"})
    for n in seg.segment_numbers:
        same("receipt", seg.get_segment_description(n).algorithm_identification.parameters, want["parameters"])
    uids = [instance["uid"] for instance in want["instances"]]
    by_source = {"ignore_spatial_locations": True, "assert_missing_frames_are_empty": True}
    if seg.segmentation_type.value != "LABELMAP":
        array = seg.get_pixels_by_source_instance(uids, rescale_fractional=False, **by_source)
        assert (np.moveaxis(array, -1, 0) == pixels).all(), "highdicom by source and segment: voxels differ"
    if seg.get("SegmentationFractionalType") == "PROBABILITY":
        return
    values = np.array([0] + [label["value"] for label in want["labels"]], np.uint8)
    planes = {tuple(groups.PlanePositionSequence[0].ImagePositionPatient) for groups in seg.PerFrameFunctionalGroupsSequence}
    if len(planes) > 1:
        volume = seg.get_volume(combine_segments=True, allow_missing_positions=True)
        array = values[np.rint(volume.array).astype(int)]
        got = on_source_grid(labels.T.shape, affine, array, volume.affine[:3])
        assert (got.T == labels).all(), "highdicom volume: voxels differ"
    array = seg.get_pixels_by_source_instance(uids, combine_segments=True, **by_source)
    assert (values[np.rint(array).astype(int)] == labels).all(), "highdicom by source: voxels differ"


def check_dcmqi(path, want, labels, affine, pixels):
    tool = Path(sys.executable).parent / "segimage2itkimage"
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(
            [tool, "--inputDICOM", path, "--outputDirectory", folder, "--prefix", "l", "-t", "nrrd"],
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, f"segimage2itkimage: {run.stdout}{run.stderr}"
        meta = json.loads((Path(folder) / "l-meta.json").read_text())
        # Segments that do not overlap may share a file, in which a voxel is the number of its segment.
        numbers = []
        got = np.zeros_like(pixels)
        for n, segments in enumerate(meta["segmentAttributes"], 1):
            file = Path(folder) / f"l-{n}.nrrd"
            if file.exists():
                voxels, header = nrrd.read(str(file))
                same("space", header["space"], "left-posterior-superior")
                to_lps = np.column_stack([header["space directions"].T, header["space origin"]])
                if voxels.shape[2] == 1:
                    # One slice alone says nothing of the distance; its direction is kept.
                    to_lps[:, 2] *= np.linalg.norm(affine[:, 2]) / np.linalg.norm(to_lps[:, 2])
                voxels = on_source_grid(labels.T.shape, affine, voxels.astype(np.uint8), to_lps).T
            for segment in segments:
                number = segment.get("labelID", n)
                numbers.append(number)
                label = want["labels"][number - 1]
                kind = segment["SegmentedPropertyTypeCodeSequence"]
                same("dcmqi type", [kind["CodeValue"], kind["CodingSchemeDesignator"], kind["CodeMeaning"]], label["type"])
                if not file.exists():
                    assert not pixels[number - 1].any(), f"dcmqi dropped segment {number}"
                elif want["type"] == "labelmap":
                    got[0][voxels == number] = number
                else:
                    got[number - 1] = np.where(voxels == number, pixels.max(), 0) if want["type"] == "binary" else voxels
        same("dcmqi segments", sorted(numbers), list(range(1, len(want["labels"]) + 1)))
        assert (got == pixels).all(), f"dcmqi: voxels differ: {np.unique(got)} {np.unique(pixels)}"


def check_dcmtk(path, want, labels, affine, pixels):
    """dcmtk parses the file, and undoes its compression to the same pixels."""
    tool = {"none": "dcmconv", "rle": "dcmdrle", "deflate": "dcmconv"}[want["compression"]]
    if shutil.which(tool) is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.dcm"
        run = subprocess.run([tool, "+te", path, plain], capture_output=True, text=True)
        assert run.returncode == 0 and not run.stderr, f"{tool}: {run.stdout}{run.stderr}"
        seg = pydicom.dcmread(plain)
        same("transfer syntax", seg.file_meta.TransferSyntaxUID, pydicom.uid.ExplicitVRLittleEndian)
        assert (seg.pixel_array == pydicom.dcmread(path).pixel_array).all(), f"{tool}: voxels differ"


def main(folders):
    failed = 0
    for folder in map(Path, folders):
        want = json.loads((folder / "expected.json").read_text())
        affine = np.array(want["affine"])
        labels = np.fromfile(folder / "labels.raw", np.uint8).reshape(want["size"][::-1])
        path = folder / "seg.dcm"
        pixels = expected_pixels(folder, want, labels)
        for check in [check_pydicom, check_highdicom, check_dcmqi, check_dcmtk]:
            try:
                check(path, want, labels, affine, pixels)
            except Exception as error:  # every case and reader is reported, not only the first
                failed += 1
                print(f"{folder.name}: {check.__name__}: {type(error).__name__}: {error}")
    print(f"{len(folders)} cases, {failed} failures")
    return failed


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
