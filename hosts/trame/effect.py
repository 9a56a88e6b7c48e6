"""The segment-editor effect "TransUNet" of trame-slicer: runs a model on the editor's volume, into its segmentation."""
import sys
from pathlib import Path

from trame_slicer.segmentation import SegmentationEffect
from trame_slicer.segmentation.segmentation_undo_command import SegmentationLabelMapUndoCommand

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
        """Adds the segments, or replaces those of an earlier run; one step of the editor's undo."""
        volume, segmentation = self.editor.active_volume_node, self.editor.active_segmentation
        check(result, volume)
        with SegmentationLabelMapUndoCommand.push_state_change(segmentation):
            show(result, volume, segmentation.segmentation_node)
            self.editor.show_3d(True)  # in here, since redo brings back surfaces only if they are part of the step
        segmentation.trigger_modified()
