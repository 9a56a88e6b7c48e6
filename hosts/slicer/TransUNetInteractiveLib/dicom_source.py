"""Opens the DICOM series that a volume node came from, so that its labels can become a DICOM SEG; else the node's voxels."""

import numpy as np

from .grid import Grid
from .library import transunet


def files(node, file_of_instance):
    """The files of a node that was loaded from DICOM, or (). `file_of_instance` looks a SOP instance UID up in a database."""
    uids = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    found = tuple(file_of_instance(uid) for uid in uids)
    return found if found and all(found) else ()


def volume(source, progress, cancel):
    """(transunet.Volume, why no DICOM SEG can be made of it, or "")."""
    if not source.files:
        return _from_memory(source), "the volume was not loaded from DICOM files"
    try:
        opened = transunet.Volume.open_files(source.files, progress=progress, cancel=cancel)
        reason = _difference(source, opened)
    except transunet.Cancelled:
        raise
    except transunet.Error as error:
        reason = f"its DICOM files cannot be used: {error}"
    return (_from_memory(source), reason) if reason else (opened, "")


def _from_memory(source):
    return source.grid.volume(source.voxels)


def _difference(source, opened):
    theirs = opened.geometry
    grid = Grid(theirs.size, theirs.spacing, theirs.origin, theirs.direction, (0, 0, 0))
    if not source.grid.same_place(grid):
        return "the volume lies elsewhere than its DICOM series, or was resampled"
    for k, layer in enumerate(source.voxels):
        if not np.array_equal(opened.slice(k), layer.astype(np.float32)):
            return f"slice {k} of the volume differs from that of its DICOM series"
    return ""
