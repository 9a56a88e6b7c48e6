"""Finds labels of DICOM SEG files in the patient with highdicom and dcmqi, and compares with where they should be.

check_places.py CASES.json: a list of {seed, file, patient, segments, grid, preserved}. `segments` lists, for segments 1, 2, ...,
[[x, y, z] in LPS mm, SOP Instance UID of the source, frame of the source or null] of each labelled voxel. `grid` is how far a
reader that makes a grid of the frames may be off in mm, null if it cannot. Prints "SEED MESSAGE" for each failure.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import highdicom
import nrrd
import numpy as np
from highdicom.spatial import PixelToReferenceTransformer

TOLERANCE_MM = 1e-3
DCMQI = Path(importlib.util.find_spec("dcmqi").origin).parent / "bin" / "segimage2itkimage"


def same_places(who, segment, got, want, tolerance):
    """Each found place is one of those wanted, and all of these are found."""
    assert len(got) == len(want), f"{who}: segment {segment} has {len(got)} voxels, expected {len(want)}"
    if len(want):
        distances = np.linalg.norm(got[:, None] - want[None], axis=2)
        nearest = distances.argmin(axis=1)
        off = distances.min(axis=1).max()
        assert off <= tolerance, f"{who}: segment {segment} is {off} mm off (at most {tolerance})"
        assert len(set(nearest)) == len(want), f"{who}: segment {segment} misses voxels"


def check_highdicom(case, want):
    seg = highdicom.seg.segread(case["file"])
    assert str(seg.PatientName) == case["patient"], f"patient {seg.PatientName}, expected {case['patient']}"
    shared = seg.SharedFunctionalGroupsSequence[0]
    spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    found = {n: [] for n in range(1, len(want) + 1)}
    for groups, pixels in zip(seg.PerFrameFunctionalGroupsSequence, frames):
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        rows, columns = np.nonzero(pixels)
        places = PixelToReferenceTransformer(position, orientation, spacing)(np.column_stack([columns, rows]))
        found[number].append(places)
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        frame = source.get("ReferencedFrameNumber")
        preserved = source.SpatialLocationsPreserved
        assert preserved == ("YES" if case["preserved"] else "NO"), f"locations preserved: {preserved}"
        places_of_source = [at for at, uid, n in case["segments"][number - 1] if (uid, n) == (source.ReferencedSOPInstanceUID, frame)]
        for place in places:
            assert any(np.linalg.norm(place - at) < TOLERANCE_MM for at in places_of_source), (
                f"highdicom: {place} refers to {source.ReferencedSOPInstanceUID}, frame {frame}"
            )
    for number, places in found.items():
        same_places("highdicom", number, np.concatenate(places) if places else np.empty((0, 3)), want[number - 1], TOLERANCE_MM)


def check_dcmqi(case, want):
    with tempfile.TemporaryDirectory() as folder:
        command = [DCMQI, "--inputDICOM", case["file"], "--outputDirectory", folder, "--prefix", "l", "-t", "nrrd"]
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, f"dcmqi: {run.stdout[-300:]}{run.stderr[-300:]}".replace("\n", " ")
        for number, places in enumerate(want, 1):
            file = Path(folder) / f"l-{number}.nrrd"
            if not file.exists():
                assert not len(places), f"dcmqi dropped segment {number}"
                continue
            voxels, header = nrrd.read(str(file))
            assert header["space"] == "left-posterior-superior", header["space"]
            got = np.argwhere(voxels > 0) @ header["space directions"] + header["space origin"]
            same_places("dcmqi", number, got, places, case["grid"])


def check(case):
    want = [np.array([at for at, *_ in segment], float).reshape(-1, 3) for segment in case["segments"]]
    failures = []
    for reader in [check_highdicom] + ([check_dcmqi] if case["grid"] else []):
        try:
            reader(case, want)
        except Exception as error:  # each reader is heard
            failures.append(f"{case['seed']} {type(error).__name__}: {error}")
    return failures


def main(path):
    cases = json.loads(Path(path).read_text())
    workers = max(2, len(os.sched_getaffinity(0)))
    with ProcessPoolExecutor(workers) as pool:
        for failures in pool.map(check, cases, chunksize=16):
            for failure in failures:
                print(failure)
    grids = sum(case["grid"] is not None for case in cases)
    print(f"read by highdicom: {len(cases)}; by dcmqi: {grids}")


if __name__ == "__main__":
    main(sys.argv[1])
