"""The widgets that the module and the Segment Editor effect share: model, device, preview, run, cancel, result."""

import qt
import slicer

from . import dicom_source, grid, preview
from .logic import Logic, check, explain, show

_FILE = "file"  # the model choice that stands for the file below it
_POLL_MS = 20


class Panel:
    """Needs of its owner: `volume()` and `segmentation()` give nodes, the second one to be made if it answers None.

    `before_change()` is called right before segments change, `changed(settings)` when a person chose something else,
    `finished(segmentation_node)` when segments stand in a node.
    """

    def __init__(self, layout, volume, segmentation, before_change=None, changed=None, finished=None):
        self.logic = Logic()
        self._volume, self._segmentation = volume, segmentation
        self._before_change = before_change or (lambda: None)
        self._changed = changed or (lambda settings: None)
        self._finished = finished or (lambda node: None)
        self._job = self._job_volume = self._result = self._preview_node = None
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self._poll)
        self._build(layout)
        self.list_models()
        self._enable()

    def _build(self, layout):
        form = qt.QFormLayout()
        layout.addLayout(form)
        self._model = qt.QComboBox()
        self._model.connect("currentIndexChanged(int)", lambda _index: self._on_choice())
        form.addRow("Model:", self._model)
        self._file = slicer.ctkPathLineEdit()
        self._file.filters = slicer.ctkPathLineEdit.Files
        self._file.nameFilters = ["Models (*.safetensors *.pth *.npz)"]
        self._file.connect("currentPathChanged(QString)", lambda _path: self._on_choice())
        form.addRow("Model file:", self._file)
        self._device = qt.QComboBox()
        for device in ("auto", "cpu", "cuda"):
            self._device.addItem(device)
        self._device.connect("currentIndexChanged(int)", lambda _index: self._on_choice())
        form.addRow("Device:", self._device)

        buttons = qt.QHBoxLayout()
        layout.addLayout(buttons)
        self._preview_button = self._button(
            buttons, "Preview slice", "Segments the slice that is shown", self.start_preview
        )
        self._run_button = self._button(buttons, "Run", "Segments the whole volume", self.start)
        self._cancel_button = self._button(buttons, "Cancel", "Stops, and changes nothing", self.cancel)
        self._bar = qt.QProgressBar()
        self._bar.visible = False
        layout.addWidget(self._bar)
        self._message = qt.QLabel()
        self._message.wordWrap = True
        self._message.textInteractionFlags = qt.Qt.TextSelectableByMouse
        layout.addWidget(self._message)

        self._table = qt.QTableWidget(0, 3)
        self._table.setHorizontalHeaderLabels(["Segment", "Volume (ml)", "Mean intensity"])
        self._table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        self._table.visible = False
        layout.addWidget(self._table)
        self._save_button = self._button(layout, "Save DICOM SEG...", "", self.save_dicom_seg)
        warning = qt.QLabel("Research use only, not for clinical use.")
        layout.addWidget(warning)

    @staticmethod
    def _button(layout, text, tooltip, clicked):
        button = qt.QPushButton(text)
        button.toolTip = tooltip
        button.connect("clicked()", clicked)
        layout.addWidget(button)
        return button

    def list_models(self):
        """Looks for models again."""
        try:
            choices, unreadable = self.logic.models()
        except Exception as error:
            choices, unreadable = [], [explain(error)]
        was_blocked = self._model.blockSignals(True)
        self._model.clear()
        for identity, name, tooltip in choices:
            self._model.addItem(name, identity)
            self._model.setItemData(self._model.count - 1, tooltip, qt.Qt.ToolTipRole)
        self._model.addItem("File...", _FILE)
        self._model.blockSignals(was_blocked)
        self.tell("\n".join(unreadable))

    # settings, as texts that a parameter node can keep

    def settings(self):
        return {
            "model": self._model.currentData or "",
            "file": self._file.currentPath,
            "device": self._device.currentText,
        }

    def set_settings(self, model, file, device):
        for widget in (self._model, self._file, self._device):
            widget.blockSignals(True)
        self._model.setCurrentIndex(max(self._model.findData(model), 0))
        self._file.currentPath = file
        self._device.setCurrentIndex(max(self._device.findText(device), 0))
        for widget in (self._model, self._file, self._device):
            widget.blockSignals(False)
        self._enable()

    def _on_choice(self):
        self._enable()
        self._changed(self.settings())

    def _chosen_model(self):
        settings = self.settings()
        if settings["model"] != _FILE:
            return settings["model"]
        if not settings["file"]:
            raise grid.Refused("No model file is chosen. Choose one below, or one of the models in the list.")
        return settings["file"]

    # work

    def start(self):
        self._start(lambda source: self.logic.start(source, self._chosen_model(), self._device.currentText))

    def start_preview(self):
        def work(source):
            return self.logic.start_preview(source, self._chosen_model(), self._point(), self._device.currentText)

        self._start(work)

    def _start(self, work):
        if self._job is not None:
            return
        try:
            volume = self._volume()
            files = dicom_source.files(volume, slicer.dicomDatabase.fileForInstance) if volume is not None else ()
            self._job = work(grid.source(volume, files))
        except Exception as error:
            self.tell(explain(error))
            return
        self._job_volume = volume
        self.tell("")
        self._bar.setRange(0, 0)
        self._timer.start()
        self._enable()

    def cancel(self):
        if self._job is not None:
            self._job.cancel()

    def _poll(self):
        ended = self._job.poll(_POLL_MS / 1000)
        progress = self._job.progress
        if progress is not None:
            self._bar.setRange(0, progress.total)
            self._bar.setValue(progress.done)
        if not ended:
            return
        self._timer.stop()
        job, self._job = self._job, None
        self._enable()
        try:
            self._show(job.result())
        except Exception as error:
            self.tell(explain(error))

    def _show(self, result):
        volume = self._job_volume
        if volume.GetScene() is not slicer.mrmlScene:
            raise grid.Refused("The volume was closed while it was segmented.")
        if result.labelmap is None:
            self._show_preview(result, volume)
            return
        check(result, volume)
        self._before_change()
        node = show(result, volume, self._segmentation())
        self._remove_preview()
        self._result = result
        self._fill(result.statistics)
        self._enable()
        self._finished(node)

    def _show_preview(self, result, volume):
        self._remove_preview()
        self._preview_node = show(result, volume)
        self._preview_node.SetSaveWithScene(False)
        if not result.exact:
            self.tell(
                "This model looks at the intensities of the whole volume: the result may differ a little from the preview."
            )

    def _remove_preview(self):
        if self._preview_node is not None:
            slicer.mrmlScene.RemoveNode(self._preview_node)
            self._preview_node = None

    def _point(self):
        """Where the slice views cross, in the volume's own frame."""
        manager = slicer.app.layoutManager()
        matrices = []
        for name in manager.sliceViewNames():
            matrix = manager.sliceWidget(name).mrmlSliceNode().GetSliceToRAS()
            matrices.append([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
        if not matrices:
            raise grid.Refused("No slice view is shown. Choose a layout with slice views.")
        point = [0.0, 0.0, 0.0]
        self._volume().TransformPointFromWorld(preview.point_shown(matrices).tolist(), point)
        return point

    def save_dicom_seg(self):
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), "Save DICOM SEG", "segmentation.dcm", "DICOM (*.dcm)"
        )
        if not path:
            return
        try:
            self._result.labelmap.write_dicom_seg(path)
            self.tell(f"Saved {path}: the result as it was made, without later edits.")
        except Exception as error:
            self.tell(explain(error))

    # what is shown

    def tell(self, text):
        self._message.text = text

    def _fill(self, rows):
        self._table.setRowCount(len(rows))
        for row, entry in enumerate(rows):
            mean = "" if entry.mean is None else f"{entry.mean:.1f}"
            for column, text in enumerate((entry.name, f"{entry.volume_ml:.2f}", mean)):
                item = qt.QTableWidgetItem(text)
                if column == 0:
                    item.setData(qt.Qt.DecorationRole, qt.QColor(*entry.rgb))
                self._table.setItem(row, column, item)
        self._table.visible = True

    def _enable(self):
        idle = self._job is None
        self._bar.visible = not idle
        self._file.enabled = idle and self._model.currentData == _FILE
        for widget in (self._model, self._device, self._preview_button, self._run_button):
            widget.enabled = idle
        self._cancel_button.enabled = not idle
        reason = self._result.no_dicom_seg if self._result is not None else "there is no result yet"
        self._save_button.enabled = idle and not reason
        self._save_button.toolTip = (
            f"Not possible: {reason}" if reason else "Writes the result beside the series it came from"
        )

    def close(self):
        """Stops the work and waits for its end: the thread must not outlive the application."""
        self._timer.stop()
        job, self._job = self._job, None
        if job is not None:
            job.cancel()
            while not job.poll(0.05):
                pass
        self._remove_preview()
