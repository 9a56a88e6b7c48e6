"""Between the effect and its panel: starts jobs, follows them on the server's event loop, shows what came out."""

import asyncio

from effect import SegmentationEffectTransUNet
from effect_ui import Choice, Measured, TransUNetEffectUI, TransUNetState
from trame.app import asynchronous
from trame_slicer.app.logic.segmentation import BaseEffectLogic
from TransUNetInteractiveLib.logic import explain

_POLL_S = 0.1
_STAGES = {"read": "Reading", "preprocess": "Preparing", "infer": "Segmenting"}


class TransUNetEffectLogic(BaseEffectLogic[TransUNetState, SegmentationEffectTransUNet]):
    def __init__(self, server, slicer_app):
        super().__init__(server, slicer_app, TransUNetState, SegmentationEffectTransUNet)
        self._job = None
        server.controller.on_server_exited.add(self.close)

    def set_ui(self, ui):
        effect_ui: TransUNetEffectUI = ui.get_effect_ui(SegmentationEffectTransUNet)
        effect_ui.run_clicked.connect(self._on_run)
        effect_ui.cancel_clicked.connect(self._on_cancel)

    def offer_models(self, file=None):
        """Lists the models of the searched folders, and `file` before them."""
        choices = [Choice(title=file.name, value=str(file))] if file else []
        try:
            found, unreadable = self.effect.logic.models()
            choices += [Choice(title=name, value=identity) for identity, name, _ in found]
            self.data.error = "\n".join(unreadable)
        except Exception as error:
            self.data.error = explain(error)
        self.data.models = choices
        self.data.model = choices[0].value if choices else ""

    def on_volume_changed(self, *_):
        """What is shown belongs to the volume before."""
        self.data.rows, self.data.error = [], ""

    def _on_run(self):
        if self._job is not None:
            return
        self.data.error, self.data.progress, self.data.stage = "", 0.0, "Loading the model"
        try:
            self._job = self.effect.start(self.data.model, self.data.device)
        except Exception as error:
            self.data.error = explain(error)
            return
        self.data.running = True
        asynchronous.create_task(self._follow())

    def _on_cancel(self):
        if self._job is not None:
            self._job.cancel()

    async def _follow(self):
        while not self._job.poll():
            progress = self._job.progress
            if progress is not None:
                with self.state:
                    self.data.stage = _STAGES.get(progress.stage, progress.stage)
                    self.data.progress = 100.0 * progress.done / progress.total if progress.total else 0.0
            await asyncio.sleep(_POLL_S)
        job, self._job = self._job, None
        with self.state:
            self.data.running = False
            try:
                self._show(job.result())
            except Exception as error:
                self.data.error = explain(error)

    def _show(self, result):
        self.effect.apply(result)
        self.data.rows = [
            Measured(
                name=row.name,
                color="#{:02x}{:02x}{:02x}".format(*row.rgb),
                volume=f"{row.volume_ml:.1f}",
                mean="" if row.mean is None else f"{row.mean:.1f}",
            )
            for row in result.statistics
        ]

    def _on_segmentation_changed(self):
        """The editor shows its list only while a segment is chosen, and chooses none itself."""
        editor = self.segmentation_editor
        if editor.n_segments and not editor.active_segment_id:
            editor.set_active_segment_id(editor.get_nth_segment_id(0))

    def close(self, **_):
        """The job's thread must not outlive the server."""
        if self._job is not None:
            self._job.cancel()
