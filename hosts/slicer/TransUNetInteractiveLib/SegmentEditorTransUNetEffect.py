"""The Segment Editor effect "TransUNet": runs a model on the editor's source volume, into the editor's segmentation."""

import os

import qt
import slicer
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect

from TransUNetInteractiveLib.panel import Panel


class SegmentEditorTransUNetEffect(AbstractScriptedSegmentEditorEffect):
    def __init__(self, scriptedEffect):
        scriptedEffect.name = "TransUNet"
        scriptedEffect.title = "TransUNet"
        scriptedEffect.perSegment = False  # it makes all segments of its model at once
        scriptedEffect.requireSegments = False
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)
        self._panel = None

    def clone(self):
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        cloned = effects.qSlicerSegmentEditorScriptedEffect(None)
        cloned.setPythonSource(__file__.replace("\\", "/"))
        return cloned

    def icon(self):
        path = os.path.join(os.path.dirname(__file__), "SegmentEditorTransUNetEffect.png")
        return qt.QIcon(path) if os.path.exists(path) else qt.QIcon()

    def helpText(self):
        return (
            "Segments the source volume with a TransUNet model. Its segments are added, or replaced where an earlier run "
            "made them; other segments stay as they are."
        )

    def setupOptionsFrame(self):
        layout = qt.QVBoxLayout()
        frame = qt.QWidget()
        frame.setLayout(layout)
        self.scriptedEffect.addOptionsWidget(frame)
        self._panel = Panel(
            layout,
            volume=lambda: self._node().GetSourceVolumeNode(),
            segmentation=lambda: self._node().GetSegmentationNode(),
            before_change=self.scriptedEffect.saveStateForUndo,
            changed=self._keep,
        )

    def _node(self):
        return self.scriptedEffect.parameterSetNode()

    def createCursor(self, widget):
        return slicer.util.mainWindow().cursor

    def setMRMLDefaults(self):
        for name, value in (("Model", ""), ("ModelFile", ""), ("Device", "auto")):
            self.scriptedEffect.setParameterDefault(name, value)

    def _keep(self, settings):
        self.scriptedEffect.setParameter("Model", settings["model"])
        self.scriptedEffect.setParameter("ModelFile", settings["file"])
        self.scriptedEffect.setParameter("Device", settings["device"])

    def updateGUIFromMRML(self):
        effect = self.scriptedEffect
        self._panel.set_settings(effect.parameter("Model"), effect.parameter("ModelFile"), effect.parameter("Device"))

    def updateMRMLFromGUI(self):
        self._keep(self._panel.settings())

    def deactivate(self):
        self._panel.cancel()

    def cleanup(self):
        if self._panel is not None:
            self._panel.close()
