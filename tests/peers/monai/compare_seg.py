"""Compares DICOM SEG: compare_seg.py OURS THEIRS. Segments, voxels and what names the source, as highdicom reads them."""

import sys

import highdicom
import numpy as np
import pydicom

ours, theirs = (highdicom.seg.segread(path) for path in sys.argv[1:])


def described(seg):
    """Codes and colours of the segments, the instances and the patient that the object refers to."""
    skipped = ("TrackingID", "TrackingUID")
    segments = [[str(element) for element in item if element.keyword not in skipped] for item in seg.SegmentSequence]
    series = seg.ReferencedSeriesSequence[0]
    source = [item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence]
    return segments, series.SeriesInstanceUID, source, seg.PatientID, seg.StudyInstanceUID, seg.FrameOfReferenceUID


assert described(ours) == described(theirs), (described(ours), described(theirs))
volumes = [seg.get_volume(combine_segments=True, allow_missing_positions=True) for seg in (ours, theirs)]
assert np.array_equal(volumes[0].affine, volumes[1].affine), "affine"
assert np.array_equal(volumes[0].array, volumes[1].array), "voxels"
assert volumes[0].array.any(), "nothing was found"
assert np.array_equal(pydicom.dcmread(sys.argv[1]).pixel_array, pydicom.dcmread(sys.argv[2]).pixel_array), "frames"
print(f"{len(ours.SegmentSequence)} segments, {np.count_nonzero(volumes[0].array)} voxels")
