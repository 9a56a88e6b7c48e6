"""Which share of the voxels two DICOM SEGs of a series label alike. Arguments: the series, the two files."""

import json
import sys
from pathlib import Path

import highdicom
import numpy as np
import pydicom


def labels(path):
    seg = highdicom.seg.segread(path)
    return seg.get_pixels_by_source_instance(
        instances, combine_segments=True, assert_missing_frames_are_empty=True, ignore_spatial_locations=True
    )


series, *files = sys.argv[1:]
instances = [pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in Path(series).iterdir()]
ours, theirs = map(labels, files)
print(json.dumps({"equal": float(np.mean(ours == theirs)), "labelled": float(np.mean(theirs > 0))}))
