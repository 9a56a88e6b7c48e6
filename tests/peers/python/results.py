"""Models and label maps: what the command makes of the same volume, views, files in every format, statistics, edits."""

import gc
import subprocess

import nibabel
import nrrd
import numpy as np
import pydicom
from checks import COMMAND, DEMO, MODEL, main, raises, refused, same, transunet
from transunet import Volume

RUNTIME = transunet.Runtime(device="cpu")
MODEL_OF_DEMO = RUNTIME.load(MODEL)
VOLUME = Volume.open(DEMO / "ct")
LABELS = MODEL_OF_DEMO.segment(VOLUME)


def write_nrrd(path, volume):
    geometry = volume.geometry
    nrrd.write(str(path), volume.array().transpose(2, 1, 0), {
        "space": "left-posterior-superior",
        "space directions": np.array(geometry.direction) * np.array(geometry.spacing)[:, None],
        "space origin": geometry.origin,
    })  # fmt: skip


def command(*arguments):
    subprocess.run([COMMAND, "segment", *map(str, arguments), "--device", "cpu", "--quiet"], check=True)


def check_runtime(_):
    about = RUNTIME.describe()
    same((about["version"], about["devices"][0]["id"]), (transunet.version(), "cpu"))
    same(transunet.devices()[0]["id"], "cpu")
    with transunet.Runtime() as runtime:
        assert runtime.describe()["cpu_threads"] >= 1
    refused("the runtime is closed", runtime.describe)
    refused("the runtime is closed", runtime.load, MODEL)
    runtime.close()
    for device in ("gpu", "cpu:1", "cuda:x", "cuda:-1", "cpu,cuda:0", "cuda:0,cuda:0"):
        refused(f'device: "{device}"', transunet.Runtime, device)
    refused("device: a int, expected a text", transunet.Runtime, 3)
    refused("kernel_cache: a int, expected a text", transunet.Runtime, kernel_cache=3)
    refused("log_level: 'loud'", transunet.Runtime, log_level="loud")
    refused("on_log", transunet.Runtime, on_log="print")
    refused("threads: -1", transunet.Runtime, threads=-1)
    refused("threads: 4294967296", transunet.Runtime, threads=2**32)
    if any(device["unusable"] for device in transunet.devices()):
        same(refused("cuda", transunet.Runtime, "cuda", status=400).name, "DEVICE_UNAVAILABLE")


def check_models(folder):
    labels = MODEL_OF_DEMO.labels
    want = MODEL_OF_DEMO.describe()["labels"]
    same(
        [(label.value, label.name, list(label.rgb)) for label in labels],
        [(label["value"], label["name"], label["color"]) for label in want],
    )
    kidney = labels[1]
    same(kidney.type, transunet.Code("64033007", "SCT", "Kidney"))
    same((kidney.modifier, kidney.region), (("7771000", "SCT", "Left"), None))
    MODEL_OF_DEMO.save(folder / "copy.safetensors")
    copy = RUNTIME.load(folder / "copy.safetensors", progress=lambda event: True)
    assert (copy.segment(VOLUME).array == LABELS.array).all()
    same(RUNTIME.load(folder).labels, labels)
    same(refused("absent", RUNTIME.load, folder / "absent.safetensors", status=200).name, "IO")
    (folder / "broken.safetensors").write_bytes(b"nonsense")
    same(refused("broken", RUNTIME.load, folder / "broken.safetensors", status=300).name, "WEIGHTS_FORMAT")
    refused("volume: a ndarray", MODEL_OF_DEMO.segment, VOLUME.array())
    refused("batch: -1", MODEL_OF_DEMO.segment, VOLUME, batch=-1)


def check_installed_models(folder):
    listing = transunet.models(MODEL.parent)
    same([model["id"] for model in listing["models"]], ["hippocampus", "phantom"])
    same((listing["folders"], listing["unreadable"]), ([str(MODEL.parent)], []))
    same(listing["models"][1]["labels"], [label.name for label in MODEL_OF_DEMO.labels])
    same([model["id"] for model in transunet.models()["models"]], ["hippocampus", "phantom"])  # by TRANSUNET_MODELS
    same(RUNTIME.load("phantom").describe(), MODEL_OF_DEMO.describe())
    refused("sphinx", RUNTIME.load, "sphinx")
    refused("absent", transunet.models, folder / "absent", status=200)


def check_manifest(_):
    manifest = transunet.manifest()
    same((manifest["id"], manifest["version"]), ("transunet", transunet.version()))
    same([module["id"] for module in manifest["modules"]], ["TransUNet", "TransUNetTraining"])


def check_same_as_the_command(folder):
    """A NRRD file, segmented here and by the command: the same voxels at the same place, in every format."""
    write_nrrd(folder / "ct.nrrd", VOLUME)
    labels = MODEL_OF_DEMO.segment(Volume.open(folder / "ct.nrrd"), probabilities=folder / "p.nii.gz")
    labels.write(folder / "ours.seg.nrrd")
    command(folder / "ct.nrrd", "--model", MODEL, "--output", folder / "theirs.seg.nrrd")
    same((folder / "ours.seg.nrrd").read_bytes(), (folder / "theirs.seg.nrrd").read_bytes())
    assert set(np.unique(labels.array)) == set(range(7)), "the demo's patient has every organ"
    assert (labels.array == LABELS.array).all(), "from DICOM and from NRRD"
    odds = nibabel.load(folder / "p.nii.gz").get_fdata()
    same(odds.shape, (*labels.geometry.size, 7))
    assert (odds.argmax(3).transpose(2, 1, 0) == labels.array).mean() > 0.999


def check_files(folder):
    array = LABELS.array
    for name in ("l.nrrd", "l.seg.nrrd"):
        LABELS.write(folder / name)
        same(nrrd.read(str(folder / name))[0].transpose(2, 1, 0).tolist(), array.tolist())
    for name in ("l.nii", "l.nii.gz"):
        LABELS.write(str(folder / name), progress=lambda event: None)
        image = nibabel.load(folder / name)
        same(np.asarray(image.dataobj).transpose(2, 1, 0).tolist(), array.tolist())
        assert np.allclose(np.diag([-1, -1, 1, 1]) @ LABELS.geometry.affine, image.affine, atol=1e-4)
    refused("l.png", LABELS.write, folder / "l.png")
    same(refused("nowhere", LABELS.write, folder / "nowhere/l.nrrd", status=200).name, "IO")
    LABELS.write_picture(folder / "l.png", window=(-160, 240), opacity=0.5, slices=4, tile=64)
    assert (folder / "l.png").read_bytes().startswith(b"\x89PNG")
    refused("opacity", LABELS.write_picture, folder / "l.png", opacity=2)
    refused("window: 3", LABELS.write_picture, folder / "l.png", window=3)


def check_dicom_seg(folder):
    seg = folder / "l.dcm"
    contents = []
    for _ in range(2):
        LABELS.write_dicom_seg(
            seg,
            series_description="Bäuche",
            content_label="ORGANS",
            content_description="by a test",
            content_creator="Test^T",
            series_number=77,
            deterministic=True,
        )
        contents.append(seg.read_bytes())
    assert contents[0] == contents[1]
    file = pydicom.dcmread(seg)
    same((file.SeriesDescription, file.ContentLabel, file.ContentDescription), ("Bäuche", "ORGANS", "by a test"))
    same((str(file.ContentCreatorName), file.SeriesNumber), ("Test^T", 77))
    same([item.SegmentLabel for item in file.SegmentSequence], [label.name for label in LABELS.labels])
    LABELS.write_dicom_seg(seg, encoding="labelmap", compression="rle")
    same(pydicom.dcmread(seg).pixel_array.shape[0], int((LABELS.array > 0).any(axis=(1, 2)).sum()))
    likely = MODEL_OF_DEMO.segment(VOLUME, keep_probabilities=True)
    likely.write_dicom_seg(seg, encoding="fractional", compression="deflate")
    file = pydicom.dcmread(seg)
    same(file.SegmentationFractionalType, "PROBABILITY")
    assert len(np.unique(file.pixel_array)) > 100
    likely.with_array(likely.array).write_dicom_seg(seg, encoding="fractional")
    same(pydicom.dcmread(seg).SegmentationFractionalType, "OCCUPANCY")
    LABELS.write(folder / "m.dcm")
    refused("encoding: 'mask'", LABELS.write_dicom_seg, seg, encoding="mask")
    refused("not for single bits", LABELS.write_dicom_seg, seg, compression="rle")
    refused("content label", LABELS.write_dicom_seg, seg, content_label="lower case")
    refused("series_number: 1.5", LABELS.write_dicom_seg, seg, series_number=1.5)
    plain = MODEL_OF_DEMO.segment(Volume.from_array(np.zeros((1, 32, 32), np.int16)))
    refused("DICOM", plain.write_dicom_seg, folder / "n.dcm")
    assert not (folder / "n.dcm").exists()


def check_views(_):
    labels = MODEL_OF_DEMO.segment(VOLUME)
    array = labels.array
    assert array.dtype == np.uint8 and array.shape == labels.geometry.shape == VOLUME.geometry.shape
    assert np.shares_memory(array, labels.array), "the library's own memory"
    assert all((labels.slice(k) == plane).all() for k, plane in enumerate(array))
    refused("slice is", labels.slice, len(array))
    raises(ValueError, "", array.setflags, write=True)
    raises(ValueError, "", array.__setitem__, 0, 1)
    part = array[3:5, ::2]
    copy = part.copy()
    del labels, array
    gc.collect()
    for _ in range(5):  # memory that was freed would be used again
        MODEL_OF_DEMO.segment(Volume.from_array(np.full(VOLUME.geometry.shape, -1000, np.int16)))
    assert (part == copy).all() and copy.any()


def check_everything_outlives_its_makers(_):
    with transunet.Runtime(device="cpu") as runtime:
        model = runtime.load(MODEL)
    volume = Volume.open(DEMO / "ct")
    del runtime
    labels = model.segment(volume)
    del model, volume
    gc.collect()
    same(labels.geometry, VOLUME.geometry)
    same(labels.statistics(), LABELS.statistics())


def check_memory_is_freed(_):
    """Volumes of 32 MiB each, 100 of them: more than the limit below if they stayed."""

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    array = np.zeros((32, 512, 512), np.int16)
    Volume.from_array(array)
    before = resident()
    for _ in range(100):
        Volume.from_array(array)
    assert resident() - before < 300 << 20, f"{(resident() - before) >> 20} MiB stayed"


def check_labels(_):
    same(LABELS.labels, MODEL_OF_DEMO.labels)
    about = LABELS.describe()
    same(about["geometry"]["spacing_mm"], list(LABELS.geometry.spacing))
    statistics = LABELS.statistics(progress=lambda event: None)
    ml = np.prod(LABELS.geometry.spacing) / 1000
    for label, entry in zip(LABELS.labels, statistics["labels"]):
        want = (LABELS.array == label.value).sum() * ml
        assert abs(entry["volume_ml"] - want) < 1e-6 * want, (entry, want)


def check_edits(folder):
    array = LABELS.array.copy()
    array[array == 4] = 0
    array[:2] = 5
    edited = LABELS.with_array(array)
    assert (edited.array == array).all() and (LABELS.array == 4).any()
    same(edited.labels, LABELS.labels)
    same(LABELS.with_array(np.asfortranarray(array)).array.tolist(), array.tolist())
    edited.write_dicom_seg(folder / "edited.dcm")
    refused("uint8", LABELS.with_array, array.astype(np.int16))
    refused("shape", LABELS.with_array, array[1:])
    array[0, 0, 0] = 9
    refused("9", LABELS.with_array, array)


main(globals())
