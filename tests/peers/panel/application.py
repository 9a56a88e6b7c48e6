"""The panel and the effect of hosts/slicer with real MRML and stand-ins for Qt and the application: usage DEMO-FOLDER.

What it can show: every line of ours runs, in the order of a person's clicks. It says nothing about Qt and Slicer's own widgets.
"""

import sys
import types
from unittest.mock import MagicMock

import slicer
from scenes import PHANTOM, add_volume, patient


class Widget(MagicMock):
    """Any widget: takes everything, remembers what was set."""

    def __init__(self, *_, **options):
        super().__init__(**options)

    def _get_child_mock(self, **options):
        return MagicMock(**options)


class Combo(Widget):
    """A QComboBox of texts with data."""

    def __init__(self, *_):
        super().__init__()
        self.items, self.index = [], 0

    count = property(lambda self: len(self.items))
    currentData = property(lambda self: self.items[self.index][1] if self.items else None)
    currentText = property(lambda self: self.items[self.index][0] if self.items else "")

    def clear(self):
        self.items = []

    def addItem(self, text, data=None):
        self.items.append((text, data))

    def findData(self, data):
        return next((n for n, item in enumerate(self.items) if item[1] == data), -1)

    def findText(self, text):
        return next((n for n, item in enumerate(self.items) if item[0] == text), -1)

    def setCurrentIndex(self, index):
        self.index = index


class Selector(Widget):
    def __init__(self, *_):
        super().__init__()
        self.node = None

    def currentNode(self):
        return self.node

    def setCurrentNode(self, node):
        self.node = node


class Base:
    """Of ScriptedLoadableModule*, AbstractScriptedSegmentEditorEffect."""

    def __init__(self, *arguments):
        self.arguments = arguments
        self.layout = Widget()

    def setup(self):
        pass

    def getParameterNode(self):
        return None


def stand_ins(scene):
    qt, ctk = MagicMock(), MagicMock()
    qt.QComboBox = Combo
    for name in ("QLabel", "QPushButton", "QProgressBar", "QTableWidget", "QTimer", "QWidget", "QTableWidgetItem"):
        setattr(qt, name, type(name, (Widget,), {}))
    slicer.mrmlScene, slicer.app, slicer.util.mainWindow = scene, MagicMock(), MagicMock()
    slicer.ctkPathLineEdit = type("ctkPathLineEdit", (Widget,), {"currentPath": "", "Files": 1})
    slicer.qMRMLNodeComboBox = Selector
    slicer.dicomDatabase = MagicMock()
    slicer.dicomDatabase.fileForInstance = lambda uid: ""
    red = scene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
    slicer.app.layoutManager().sliceViewNames.return_value = ["Red"]
    slicer.app.layoutManager().sliceWidget.return_value.mrmlSliceNode.return_value = red
    loadable = types.ModuleType("slicer.ScriptedLoadableModule")
    for name in ("", "Logic", "Test", "Widget"):
        setattr(loadable, f"ScriptedLoadableModule{name}", type(name or "Module", (Base,), {}))
    parameters = types.ModuleType("slicer.parameterNodeWrapper")
    parameters.parameterNodeWrapper = wrapper
    editor = types.ModuleType("SegmentEditorEffects")
    editor.AbstractScriptedSegmentEditorEffect = type(
        "Effect", (Base,), {"__init__": lambda self, e: setattr(self, "scriptedEffect", e)}
    )
    effects = MagicMock()
    for name, module in {
        "qt": qt, "ctk": ctk, loadable.__name__: loadable, parameters.__name__: parameters, "SegmentEditorEffects": editor,
        "qSlicerSegmentationsEditorEffectsPythonQt": effects,
    }.items():  # fmt: skip
        sys.modules[name] = module
    return effects


def wrapper(described):
    """Fields of the class, kept as those of one node."""
    kept = {
        name: getattr(described, name, "" if kind is str else None) for name, kind in described.__annotations__.items()
    }

    class Wrapped:
        def __init__(self, _node):
            self.__dict__ = kept

        def connectParametersToGui(self, mapping):
            assert set(mapping) <= set(kept)
            return "tag"

        def disconnectGui(self, tag):
            assert tag == "tag"

    return Wrapped


def finish(panel):
    """Lets the timer tick until the job has ended."""
    while panel._job is not None:
        panel._poll()


def main(demo):
    scene = slicer.vtkMRMLScene()
    effects = stand_ins(scene)
    import TransUNetInteractive as module

    parent = MagicMock()
    module.TransUNetInteractive(parent)
    assert parent.categories == ["Segmentation"] and parent.title == "TransUNet (interactive)"
    signal, register = slicer.app.connect.call_args[0]
    assert signal == "startupCompleted()"
    register()
    source = effects.qSlicerSegmentEditorScriptedEffect.return_value.setPythonSource.call_args[0][0]
    assert source.endswith("/TransUNetInteractiveLib/SegmentEditorTransUNetEffect.py") and open(source).read()

    voxels, to_lps = patient(demo)
    volume = add_volume(scene, voxels[12:16], to_lps)
    the_module(module, scene, volume)
    the_effect(scene, volume)


def the_module(module, scene, volume):
    widget = module.TransUNetInteractiveWidget()
    widget.setup()
    panel = widget._panel
    assert [item[0] for item in panel._model.items][-1] == "File..." and len(panel._model.items) >= 3, (
        panel._model.items
    )
    panel.start()
    assert "No volume is chosen" in panel._message.text
    widget._volume.setCurrentNode(volume)
    panel._model.index = panel._model.count - 1
    panel.start()
    assert "No model file is chosen" in panel._message.text
    panel._file.currentPath = PHANTOM
    panel._device.index = 1
    panel._on_choice()
    assert (widget._parameters.model, widget._parameters.modelFile, widget._parameters.device) == (
        "file",
        PHANTOM,
        "cpu",
    )
    widget.enter()
    assert panel.settings() == {"model": "file", "file": PHANTOM, "device": "cpu"}, panel.settings()

    panel.start_preview()
    assert not panel._run_button.enabled and panel._cancel_button.enabled
    finish(panel)
    assert "does not show the volume" in panel._message.text, panel._message.text
    slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().SetSliceOffset(volume.GetOrigin()[2] + 6.0)
    slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().UpdateMatrices()
    panel.start_preview()
    finish(panel)
    shown = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert shown.GetName() == "CT TransUNet preview" and panel._message.text == ""

    panel.start()
    panel.cancel()
    finish(panel)
    assert panel._message.text.startswith("Cancelled") and not panel._save_button.enabled
    panel.start()
    finish(panel)
    assert panel._message.text == "" and scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    node = widget._segmentation.currentNode()
    assert node.GetName() == "CT TransUNet" and node.GetSegmentation().GetNumberOfSegments() == 6
    assert panel._table.setItem.call_count == 18
    assert "not loaded from DICOM" in panel._save_button.toolTip and panel._run_button.enabled
    panel.start()
    widget.cleanup()
    assert panel._job is None
    assert module.TransUNetInteractiveLogic().segment(volume, PHANTOM, device="cpu")[1][3].name == "Liver"


def the_effect(scene, volume):
    from TransUNetInteractiveLib.SegmentEditorTransUNetEffect import SegmentEditorTransUNetEffect

    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    segmentation.CreateDefaultDisplayNodes()
    host, kept = MagicMock(), {}
    host.setParameter, host.parameter = kept.__setitem__, lambda name: kept.get(name, "")
    host.setParameterDefault = kept.setdefault
    host.parameterSetNode().GetSourceVolumeNode.return_value = volume
    host.parameterSetNode().GetSegmentationNode.return_value = segmentation
    effect = SegmentEditorTransUNetEffect(host)
    assert (host.name, host.perSegment, host.requireSegments) == ("TransUNet", False, False)
    effect.clone(), effect.icon(), effect.createCursor(None), effect.setMRMLDefaults()
    effect.setupOptionsFrame()
    kept.update(Model="file", ModelFile=PHANTOM, Device="cpu")
    effect.updateGUIFromMRML()
    effect._panel.start()
    finish(effect._panel)
    assert host.saveStateForUndo.call_count == 1 and segmentation.GetSegmentation().GetNumberOfSegments() == 6
    effect.updateMRMLFromGUI()
    assert kept == {"Model": "file", "ModelFile": PHANTOM, "Device": "cpu"}
    volume.GetImageData().GetPointData().GetScalars().Modified()
    effect._panel.start()
    effect.deactivate()
    finish(effect._panel)
    assert host.saveStateForUndo.call_count == 1  # nothing to undo
    effect.cleanup()


if __name__ == "__main__":
    main(*sys.argv[1:])
