"""trame-slicer's segmentation application with the effect "TransUNet": 3D Slicer's segment editor in a browser.

    python hosts/trame/app.py --volume SERIES/ --model model.safetensors --port 8080

Needs Python 3.11 with `trame-slicer[standalone]`. Research use only, not for clinical use.
"""

import argparse
from pathlib import Path

from effect import SegmentationEffectTransUNet
from effect_logic import TransUNetEffectLogic
from effect_ui import TransUNetEffectUI
from trame.app import TrameApp
from trame.widgets.html import Div
from trame.widgets.vuetify3 import VCard, VCardText
from trame_slicer import module as trame_slicer_module
from trame_slicer.app.logic import SegmentationAppLogic
from trame_slicer.app.ui import SegmentationAppUI, SegmentEditorUI
from trame_slicer.core import SlicerApp


class EditorUI(SegmentEditorUI):
    """The segment editor's panel, with TransUNet above: it needs no segment to start with."""

    def _build_ui(self):
        with self, VCard(variant="flat", classes="flex-shrink-0"), VCardText(classes="py-2"):
            self._create_effect_button("TransUNet", "mdi-creation", SegmentationEffectTransUNet)
            with Div(classes="pt-3"):
                self._register_effect_ui(SegmentationEffectTransUNet, TransUNetEffectUI)
        super()._build_ui()


class AppUI(SegmentationAppUI):
    def __init__(self, server, layout_manager):
        super().__init__(server, layout_manager)
        with self.layout:  # leaving it sends the page anew
            self.layout.title.set_text("TransUNet")

    def _register_tool_ui(self, tool_ui_type, **kwargs):
        if tool_ui_type is not SegmentEditorUI:
            return super()._register_tool_ui(tool_ui_type, **kwargs)
        self.tool_registry[tool_ui_type] = EditorUI(v_if=(self._is_tool_active(tool_ui_type),), **kwargs)


class App(TrameApp):
    def __init__(self, server=None):
        super().__init__(server)
        self.server.enable_module(trame_slicer_module)
        self.slicer = SlicerApp()
        self.logic = SegmentationAppLogic(self.server, self.slicer)
        self.effect = TransUNetEffectLogic(self.server, self.slicer)
        self.ui = AppUI(self.server, self.logic.layout_manager)
        self.logic.set_ui(self.ui)
        self.effect.set_ui(self.ui.tool_registry[SegmentEditorUI])
        self.logic._load_files_logic.volume_loaded.connect(self.effect.on_volume_changed)
        self.server.state["trame__title"] = "TransUNet"
        self.server.state["trame__favicon"] = None  # the application's own comes from the network

    def open(self, path):
        """Shows a volume: a file, or a folder of one DICOM series. Refuses what holds several."""
        files = sorted(str(file) for file in path.iterdir() if file.is_file()) if path.is_dir() else [str(path)]
        try:
            volumes = self.slicer.io_manager.load_volumes(files)
        except Exception as error:  # trame-slicer's reader raises what it comes across
            raise ValueError(
                f"{path} cannot be read as a volume: give a file, or a folder of one DICOM series"
            ) from error
        if len(volumes) != 1:
            raise ValueError(f"{path} holds {len(volumes)} volumes: give a file, or a folder of one DICOM series")
        self.slicer.display_manager.show_volume(volumes[0], do_reset_views=True)
        self.logic._load_files_logic.volume_loaded(volumes[0])


def main():
    parser = argparse.ArgumentParser(
        description="Segment a volume in the browser. Research use only, not for clinical use."
    )
    parser.add_argument("--volume", type=Path, help="a volume file, or a folder of one DICOM series")
    parser.add_argument("--model", type=Path, help="a model file, offered beside those in the searched folders")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--host", default="localhost", help="others than localhost show patients to the network")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    arguments = parser.parse_args()
    app = App()
    app.effect.offer_models(arguments.model)
    app.effect.data.device = arguments.device
    if arguments.volume:
        try:
            app.open(arguments.volume)
        except (OSError, ValueError) as error:
            parser.error(str(error))
    app.server.start(host=arguments.host, port=arguments.port, open_browser=False, show_connection_info=True)


if __name__ == "__main__":
    main()
