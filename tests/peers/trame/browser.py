"""A person's way through hosts/trame in a real browser: usage DEMO-FOLDER CHROMIUM PICTURE.png.

DEMO-FOLDER is what `transunet demo` leaves; TRANSUNET_MODELS names a folder with the demo's model. Leaves a screenshot. A
failed check is an AssertionError.
"""

import io
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import matplotlib.colors
import numpy as np
import vtk
from PIL import Image
from playwright.sync_api import expect, sync_playwright
from slicer import vtkMRMLSegmentationNode, vtkMRMLSegmentationStorageNode
from vtk.util.numpy_support import vtk_to_numpy

APP = Path(__file__).resolve().parents[3] / "hosts/trame/app.py"
PATIENCE_S = 180  # as long as anything may take; everything is drawn without a GPU
# Top, bottom, left, right of the views in the page.
VIEWS = {
    "axial": (70, 860, 405, 915),
    "3d": (70, 335, 925, 1440),
    "coronal": (350, 605, 925, 1440),
    "sagittal": (620, 860, 925, 1440),
}
SLICES = ("axial", "coronal", "sagittal")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def main(demo, chromium, picture):
    demo = Path(demo)
    truth = read_segments(demo / "truth.seg.nrrd")
    server = subprocess.Popen(
        [sys.executable, APP, "--volume", demo / "ct", "--device", "cpu", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        address = next(found[0] for line in server.stdout if (found := re.findall(r"http://localhost:\d+/", line)))
        with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
            browser = playwright.chromium.launch_persistent_context(
                profile, executable_path=chromium, headless=True, args=FLAGS, viewport={"width": 1440, "height": 900}
            )
            page = browser.pages[0]
            elsewhere, faults = [], []
            page.on(
                "request", lambda request: elsewhere.append(request.url) if elsewhere_of(request.url, address) else None
            )
            page.on("pageerror", lambda error: faults.append(str(error)))
            walk(page, address, truth, picture)
            assert not elsewhere, f"the page asks other machines: {elsewhere}"
            assert not faults, faults
            browser.close()
    finally:
        server.terminate()
        server.wait(20)


def elsewhere_of(url, address):
    return not url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))


def walk(page, address, truth, picture):
    page.goto(address)
    expect(page.locator("img, canvas").nth(3)).to_be_visible(timeout=PATIENCE_S * 1000)
    effect = page.locator("button:has(.mdi-creation)").first
    effect.click(timeout=PATIENCE_S * 1000)
    page.locator(".transunet-model").click()
    page.get_by_role("option", name="TransUNet demo").click()
    run = page.locator(".transunet-run")
    expect(run).to_be_enabled(timeout=PATIENCE_S * 1000)
    hues = {name: matplotlib.colors.rgb_to_hsv(color)[0] for name, (color, _, _) in truth.items()}
    shot = settled(page, lambda shot: all(crop(shot, view).max() > 200 for view in VIEWS))
    page.mouse.move(1180, 190)  # over the 3D view, which the wheel enlarges
    for _ in range(3):
        page.mouse.wheel(0, -120)
    small = shot
    shot = settled(page, lambda shot: (crop(shot, "3d") != crop(small, "3d")).any())
    before = pixels(shot, hues)
    assert not any(before[view][name] for view in SLICES for name in hues), before  # nothing ran yet

    run.click()
    expect(page.locator(".transunet-table")).to_be_visible(timeout=PATIENCE_S * 1000)
    expect(page.locator(".transunet-error")).to_have_count(0)
    page.mouse.move(700, 20)  # away from buttons, whose tooltips would be in the picture
    shot = settled(page, lambda shot: painted(pixels(shot, hues), before))
    Image.fromarray(shot).save(picture, optimize=True)

    rows = {
        row.split("\t")[0].strip(): row.split("\t")[1:]
        for row in page.locator(".transunet-table tbody tr").all_inner_texts()
    }
    assert set(rows) == set(truth), rows
    for name, (_, _, millilitres) in truth.items():
        assert abs(float(rows[name][0]) / millilitres - 1) < 0.05, (name, rows[name], millilitres)

    with page.expect_download(timeout=PATIENCE_S * 1000) as download, tempfile.TemporaryDirectory() as folder:
        page.locator("button:has(.mdi-file-download)").click()
        scene = Path(folder) / "scene.mrb"
        download.value.save_as(scene)
        compare(saved_segments(scene, folder), truth)

    page.locator("button:has(.mdi-undo)").click()
    settled(page, lambda shot: not any(pixels(shot, hues)[view][name] for view in SLICES for name in hues))
    page.locator("button:has(.mdi-redo)").click()
    settled(page, lambda shot: painted(pixels(shot, hues), before))
    expect(page.locator(".v-list-item:has(.mdi-delete-outline)")).to_have_count(len(truth))


def painted(counts, before):
    """Whether the segments' colours are where the patient has the organs."""
    seen = {view: {name for name, count in counts[view].items() if count > before[view][name] + 200} for view in VIEWS}
    organs = {"axial": set(counts["axial"]), "coronal": {"Liver"}, "sagittal": {"Aorta", "Vertebral column"}}
    organs["3d"] = {"Liver", "Left kidney", "Right kidney", "Spleen"}
    return all(organs[view] <= seen[view] for view in VIEWS)


def crop(shot, view):
    top, bottom, left, right = VIEWS[view]
    return shot[top:bottom, left:right]


def settled(page, good):
    """The screenshot once `good` holds of it and the views were alike twice; they come from the server as they are drawn."""
    last, end = None, time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        shot = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
        views = [crop(shot, view) for view in VIEWS]
        if last is not None and all((a == b).all() for a, b in zip(views, last)) and good(shot):
            return shot
        last = views
        page.wait_for_timeout(500)
    path = os.path.join(tempfile.gettempdir(), "transunet-trame.png")
    Image.fromarray(shot).save(path)
    raise AssertionError(f"the views never became what they should; the last screenshot is {path}")


def pixels(shot, hues):
    """{view: {name: how many pixels have the hue}}: grey below a half transparent segment does not change it."""
    counts = {}
    for view in VIEWS:
        colors = crop(shot, view).reshape(-1, 3)
        colors = colors[(np.ptp(colors, axis=1) > 30) & (colors.max(1) > 50)]
        found = matplotlib.colors.rgb_to_hsv(colors / 255.0)[:, 0] if len(colors) else np.zeros(0)
        away = {name: np.abs(found - hue) for name, hue in hues.items()}
        counts[view] = {name: int((np.minimum(a, 1 - a) < 0.012).sum()) for name, a in away.items()}
    return counts


def read_segments(path):
    """{name: (colour, mask [k, j, i], ml)} of a `.seg.nrrd` as Slicer reads it."""
    node, storage = vtkMRMLSegmentationNode(), vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    assert storage.ReadData(node), path
    segmentation, found = node.GetSegmentation(), {}
    for n in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(n)
        image = segment.GetRepresentation("Binary labelmap")
        voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
        mask = np.zeros([128 if axis else 32 for axis in range(3)], bool)
        i, _, j, _, k, _ = image.GetExtent()
        mask[k : k + voxels.shape[0], j : j + voxels.shape[1], i : i + voxels.shape[2]] = (
            voxels == segment.GetLabelValue()
        )
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        found[segment.GetName()] = (segment.GetColor(), mask, mask.sum() * abs(matrix.Determinant()) / 1000)
    return found


def saved_segments(scene, folder):
    with zipfile.ZipFile(scene) as archive:
        names = [name for name in archive.namelist() if name.endswith(".seg.nrrd")]
        assert len(names) == 1, archive.namelist()
        return read_segments(archive.extract(names[0], folder))


def compare(found, truth):
    assert set(found) == set(truth), set(found)
    for name, (color, mask, _) in truth.items():
        assert np.allclose(found[name][0], color, atol=2e-6), name
        dice = 2 * (found[name][1] & mask).sum() / (found[name][1].sum() + mask.sum())
        assert dice > 0.95, (name, dice)


if __name__ == "__main__":
    main(*sys.argv[1:])
