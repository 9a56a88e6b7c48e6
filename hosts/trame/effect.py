"""The segment-editor effect "TransUNet" of trame-slicer: runs a model on the editor's volume, into its segmentation."""

import sys
from pathlib import Path

from slicer import vtkSegmentation
from trame_slicer.segmentation import SegmentationEffect
from undo_stack import UndoCommand

sys.path.append(str(Path(__file__).resolve().parent.parent / "slicer"))

from TransUNetInteractiveLib import grid  # noqa: E402
from TransUNetInteractiveLib.logic import Logic, check, show  # noqa: E402


class SegmentationEffectTransUNet(SegmentationEffect):
    """Draws nothing in the views; `start` and `apply` are its two halves, with a background job in between."""

    def __init__(self):
        super().__init__()
        self.logic = Logic()

    def _create_pipeline(self, _view_node, _parameter):
        return None

    def start(self, model, device):
        """A job whose result is for `apply`. Refuses volumes that cannot be segmented."""
        return self.logic.start(grid.source(self.editor.active_volume_node), model, device)

    def apply(self, result):
        """Adds the segments, or replaces those of an earlier run, and shows them in 3D; one step of the editor's undo."""
        check(result, self.editor.active_volume_node)
        segmentation = self.editor.active_segmentation
        segmentation.push_undo(_Applied(result, self.editor))


class _Applied(UndoCommand):
    """Redo writes the result again and turns 3D on again, which the editor turns off where no segment is left."""

    def __init__(self, result, editor):
        super().__init__()
        segmentation = editor.active_segmentation
        self._result, self._editor = result, editor
        self._volume, self._segmentation = editor.active_volume_node, segmentation
        self._before = vtkSegmentation()
        self._before.DeepCopy(segmentation.segmentation)
        self.redo()

    def undo(self):
        self._segmentation.segmentation.DeepCopy(self._before)
        self._segmentation.trigger_modified()

    def redo(self):
        show(self._result, self._volume, self._segmentation.segmentation_node)
        self._segmentation.trigger_modified()
        self._editor.show_3d(True)
