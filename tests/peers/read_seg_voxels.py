"""Reads a DICOM SEG with pydicom, independently of the library under test.

usage: read_seg_voxels.py SEG...

Prints a JSON list with, for each file, a list of [segment number, x, y, z]: every pixel that belongs to a segment and its patient
position in mm. Fractional pixels belong from half of the maximum on.
"""

import json
import sys

import numpy as np
import pydicom


def voxels(path):
    seg = pydicom.dcmread(path)
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    limit = seg.MaximumFractionalValue / 2 if seg.SegmentationType == "FRACTIONAL" else 1
    shared = seg.SharedFunctionalGroupsSequence[0]
    found = []
    for frame, own in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        group = lambda name: (own if name in own else shared)[name][0]
        cosines = np.array(group("PlaneOrientationSequence").ImageOrientationPatient, float)
        row_apart, column_apart = map(float, group("PixelMeasuresSequence").PixelSpacing)
        origin = np.array(group("PlanePositionSequence").ImagePositionPatient, float)
        number = int(group("SegmentIdentificationSequence").ReferencedSegmentNumber)
        for row, column in np.argwhere(frame >= limit):
            position = origin + column * column_apart * cosines[:3] + row * row_apart * cosines[3:]
            found.append([number, *position])
    return found


print(json.dumps([voxels(path) for path in sys.argv[1:]]))
