"""Checks of the trame-slicer effect without a browser: usage DEMO-FOLDER MODEL. A failed check is an AssertionError."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "hosts/trame"))

from app import App  # noqa: E402


def state(app):
    editor = app.slicer.segmentation_editor
    return (
        list(editor.get_segment_ids()),
        editor.undo_stack.can_undo(),
        editor.active_segmentation_node.GetSegmentation().GetMTime(),
    )


async def main(demo, model):
    app = App()
    panel, editor = app.effect, app.slicer.segmentation_editor
    panel.data.model, panel.data.device = model, "cpu"
    panel._on_run()
    assert "No volume is chosen" in panel.data.error and not panel.data.running, panel.data.error

    try:
        app.open(Path(demo))  # a CT, segmentations and pictures
    except ValueError as error:
        assert "a folder of one DICOM series" in str(error)
    else:
        raise AssertionError("a folder of many things was opened")
    app.slicer.scene.Clear()
    app.open(Path(demo) / "ct")
    panel.set_active()
    before = state(app)
    panel.data.model = model + ".missing"
    await run(panel)
    assert "missing" in panel.data.error and state(app) == before, panel.data.error

    panel.data.model = model
    panel._on_run()
    panel._on_cancel()
    await ended(panel)
    assert panel.data.error.startswith("Cancelled") and not panel.data.rows and state(app) == before, panel.data.error

    await run(panel)
    assert panel.data.error == "" and len(panel.data.rows) == 6 and editor.n_segments == 6
    assert editor.active_effect is panel.effect  # still the chosen one
    names = editor.get_segment_names()
    assert editor.is_3d_shown() and editor.active_segment_id
    editor.undo_stack.undo()
    app.server.state.flush()
    assert editor.n_segments == 0
    editor.undo_stack.redo()
    app.server.state.flush()
    assert editor.get_segment_names() == names and editor.is_3d_shown() and editor.active_segment_id
    await run(panel)
    assert editor.get_segment_names() == names  # replaced, not added

    # Another volume has come meanwhile: its labels are not those.
    panel._on_run()
    job = panel._job
    app.slicer.scene.Clear()
    app.open(Path(demo) / "ct")
    assert panel.data.rows == []
    job.poll(60)
    await ended(panel)
    assert "was changed" in panel.data.error and editor.n_segments == 0, panel.data.error


async def run(panel):
    panel._on_run()
    await ended(panel)


async def ended(panel):
    while panel.data.running:
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
