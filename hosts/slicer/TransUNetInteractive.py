"""3D Slicer's module "TransUNet (interactive)": segments a volume with a model, and gives the Segment Editor its effect."""

import os

import ctk
import qt
import slicer
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

from TransUNetInteractiveLib import grid
from TransUNetInteractiveLib.logic import Logic, show


class TransUNetInteractive(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "TransUNet (interactive)"
        parent.categories = ["Segmentation"]
        parent.dependencies = ["Segmentations"]
        parent.contributors = ["The authors of TransUNet for DICOM"]
        parent.helpText = (
            "Segments a volume with a TransUNet model, with a preview of the slice that is shown. The same is an effect of "
            "the Segment Editor. Research use only, not for clinical use."
        )
        parent.acknowledgementText = "Chen J. et al., TransUNet: Transformers Make Strong Encoders for Medical Image Segmentation, arXiv:2102.04306."
        slicer.app.connect("startupCompleted()", register_effect)


def register_effect():
    """Makes the Segment Editor effect known; its factory is there once the application has started."""
    import qSlicerSegmentationsEditorEffectsPythonQt as effects

    effect = effects.qSlicerSegmentEditorScriptedEffect(None)
    folder = os.path.join(os.path.dirname(__file__), "TransUNetInteractiveLib")
    effect.setPythonSource(os.path.join(folder, "SegmentEditorTransUNetEffect.py").replace("\\", "/"))
    effect.self().register()


class TransUNetInteractiveWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from TransUNetInteractiveLib.panel import Panel

        inputs = ctk.ctkCollapsibleButton()
        inputs.text = "Segment"
        self.layout.addWidget(inputs)
        layout = qt.QVBoxLayout(inputs)
        form = qt.QFormLayout()
        layout.addLayout(form)
        self._volume = self._selector("vtkMRMLScalarVolumeNode", form, "Volume:")
        self._segmentation = self._selector("vtkMRMLSegmentationNode", form, "Segmentation:")
        self._segmentation.noneEnabled = self._segmentation.addEnabled = self._segmentation.renameEnabled = True
        self._segmentation.noneDisplay = "Create new segmentation"
        self._panel = Panel(
            layout,
            volume=lambda: self._volume.currentNode(),
            segmentation=lambda: self._segmentation.currentNode(),
            changed=self._keep,
            finished=self._segmentation.setCurrentNode,
        )
        self.layout.addStretch(1)
        self._logic = TransUNetInteractiveLogic()
        self._connection = None
        self.enter()

    @staticmethod
    def _selector(kind, form, label):
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = [kind]
        selector.showChildNodeTypes = False
        selector.addEnabled = selector.removeEnabled = False
        selector.setMRMLScene(slicer.mrmlScene)
        form.addRow(label, selector)
        return selector

    def enter(self):
        from TransUNetInteractiveLib.parameters import Parameters

        self.exit()
        self._parameters = Parameters(self._logic.getParameterNode())
        self._connection = self._parameters.connectParametersToGui(
            {"volume": self._volume, "segmentation": self._segmentation}
        )
        self._panel.set_settings(self._parameters.model, self._parameters.modelFile, self._parameters.device)

    def exit(self):
        if self._connection is not None:
            self._parameters.disconnectGui(self._connection)
            self._connection = None

    def _keep(self, settings):
        self._parameters.model = settings["model"]
        self._parameters.modelFile = settings["file"]
        self._parameters.device = settings["device"]

    def cleanup(self):
        self.exit()
        self._panel.close()


class TransUNetInteractiveLogic(ScriptedLoadableModuleLogic):
    """For scripts: segments a volume node and waits for the result."""

    def segment(self, volume_node, model, segmentation_node=None, device="auto", batch=0):
        """Returns the segmentation node and the rows of the statistics table."""
        result = Logic().start(grid.source(volume_node), model, device, batch).result()
        return show(result, volume_node, segmentation_node), result.statistics


class TransUNetInteractiveTest(ScriptedLoadableModuleTest):
    def runTest(self):
        """Segments a volume of noise with each model that is found."""
        import numpy as np

        slicer.mrmlScene.Clear()
        noise = np.random.default_rng(1).normal(size=(8, 64, 48)).astype(np.float32)
        volume = slicer.util.addVolumeFromArray(noise, ijkToRAS=np.diag([-2.0, -2.0, 5.0, 1.0]))
        choices, unreadable = Logic().models()
        self.assertEqual(unreadable, [])
        self.assertTrue(choices)
        for identity, name, _ in choices:
            self.delayDisplay(f"Segmenting with {name}")
            node, rows = TransUNetInteractiveLogic().segment(volume, identity)
            self.assertEqual(node.GetSegmentation().GetNumberOfSegments(), len(rows))
