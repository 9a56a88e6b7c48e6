"""Long calls: progress, cancel, exceptions, Ctrl-C, threads, logs, training."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
from checks import COMMAND, DEMO, MODEL, main, raises, refused, same, transunet
from transunet import Volume

RUNTIME = transunet.Runtime(device="cpu")
PHANTOM = RUNTIME.load(MODEL)
VOLUME = Volume.open(DEMO / "ct")
LONG = Volume.from_array(np.zeros((400, 256, 256), np.int16))  # far more than what the checks wait for


def check_progress(_):
    events = []
    PHANTOM.segment(VOLUME, progress=events.append)
    infer = [event for event in events if event.stage == "infer"]
    slices = VOLUME.geometry.size[2]
    same((infer[0].done, infer[-1].done, infer[-1].total), (0, slices, slices))
    same([event.done for event in infer], sorted(event.done for event in infer))
    assert all(event.epoch == 0 and np.isnan(event.loss) and np.isnan(event.dice) for event in events)


def check_answers(_):
    for answer in (None, True, 1, 0, "", []):  # only False itself stops
        PHANTOM.segment(VOLUME, progress=lambda event: answer)
    for answer in (False, np.bool_(False)):
        error = raises(transunet.Cancelled, "", PHANTOM.segment, VOLUME, progress=lambda event: answer)
        same((error.status, error.name), (500, "CANCELLED"))


def check_exceptions(folder):
    class Stop(BaseException):
        pass

    def fail(kind):
        calls = []

        def progress(event):
            calls.append(event)
            raise kind("from the callable")

        return calls, progress

    for kind in (ValueError, SystemExit, KeyboardInterrupt, Stop):
        calls, progress = fail(kind)
        raises(kind, "from the callable", PHANTOM.segment, VOLUME, progress=progress)
        same(len(calls), 1)
    _, progress = fail(OSError)
    labels = PHANTOM.segment(VOLUME)
    for call in (
        lambda: Volume.open(DEMO / "ct", progress=progress),
        lambda: transunet.series(DEMO / "ct", progress=progress),
        lambda: labels.write(folder / "l.dcm", progress=progress),
        lambda: labels.write_dicom_seg(folder / "l.dcm", progress=progress),
    ):
        raises(OSError, "from the callable", call)
    same(list(folder.iterdir()), [])


def check_cancel_from_another_thread(folder):
    cancel = transunet.Cancel()
    assert not cancel.triggered
    started, stopped = threading.Event(), []

    def stop():
        started.wait(60)
        stopped.append(time.monotonic())
        cancel.trigger()

    thread = threading.Thread(target=stop)
    thread.start()
    raises(
        transunet.Cancelled, "", PHANTOM.segment, LONG,
        probabilities=folder / "p.nii.gz", progress=lambda event: started.set(), cancel=cancel,
    )  # fmt: skip
    waited = time.monotonic() - stopped[0]
    thread.join()
    assert waited < 10, f"{waited} s from trigger to the end"
    assert cancel.triggered
    same(list(folder.iterdir()), [])
    # It stays triggered, for every call.
    labels = PHANTOM.segment(VOLUME)
    for call in (
        lambda: PHANTOM.segment(VOLUME, cancel=cancel),
        lambda: Volume.open(DEMO / "ct", cancel=cancel),
        lambda: transunet.series(DEMO / "ct", cancel=cancel),
        lambda: RUNTIME.load(MODEL, cancel=cancel),
        lambda: labels.write(folder / "l.nrrd", cancel=cancel),
        lambda: labels.write_dicom_seg(folder / "l.dcm", cancel=cancel),
        lambda: labels.write_picture(folder / "l.png", cancel=cancel),
        lambda: labels.statistics(cancel=cancel),
    ):
        raises(transunet.Cancelled, "", call)
    same(list(folder.iterdir()), [])


def check_ctrl_c(_):
    """SIGINT stops a call, with and without a progress callable; handlers of the program's own are asked."""

    def interrupted(kind, **named):
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        start = time.monotonic()
        raises(kind, "", PHANTOM.segment, LONG, **named)
        assert 0.25 < time.monotonic() - start < 10

    # Python leaves SIGINT alone where its parent ignores it, as shells do for programs in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupted(KeyboardInterrupt)
    interrupted(KeyboardInterrupt, progress=lambda event: None)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def handler(number, frame):
        raise TimeoutError

    signal.signal(signal.SIGINT, handler)
    try:
        interrupted(TimeoutError)
        assert signal.getsignal(signal.SIGINT) is handler
        cancel = transunet.Cancel()
        signal.signal(signal.SIGINT, lambda *_: cancel.trigger())
        interrupted(transunet.Cancelled, cancel=cancel)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def check_threads(_):
    """One model, several threads, each with volumes of its own; the interpreter runs meanwhile."""
    want = PHANTOM.segment(VOLUME).array
    results, failures = [], []

    def work():
        try:
            volume = Volume.open(DEMO / "ct")
            results.append(PHANTOM.segment(volume, progress=lambda event: None).array)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same(failures, [])
    assert len(results) == 4 and all((result == want).all() for result in results)


def check_lock_is_released(_):
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.wait(0.005):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.monotonic()
    PHANTOM.segment(Volume.from_array(np.zeros((1, 1024, 1024), np.int16)))
    end = time.monotonic()
    stop.set()
    thread.join()
    during = [start, *(t for t in ticks if start < t < end), end]
    # With the lock held, nobody would tick between two progress events.
    assert np.diff(during).max() < 0.5 * (end - start), f"{len(during) - 2} ticks in {end - start} s"


def check_runtime_closed_under_threads(_):
    for _ in range(20):
        runtime = transunet.Runtime(device="cpu", on_log=lambda *line: None, log_level="trace")
        models, errors = [], []

        def load():
            try:
                models.append(runtime.load(MODEL))
            except transunet.Error as error:
                errors.append(str(error))

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        runtime.close()
        for thread in threads:
            thread.join()
        same(len(models) + len(errors), 3)
        assert set(errors) <= {"the runtime is closed"}, errors


def check_logs(_):
    lines = []
    with transunet.Runtime(device="cpu", on_log=lambda *line: lines.append(line), log_level="trace") as runtime:
        runtime.load(MODEL)
    assert lines and all(len(line) == 3 and all(isinstance(part, str) for part in line) for line in lines)
    assert {line[0] for line in lines} <= {"error", "warn", "info", "debug", "trace"}
    count = len(lines)
    PHANTOM.segment(VOLUME)
    same(len(lines), count)

    unraisable = []
    sys.unraisablehook, hook = unraisable.append, sys.unraisablehook
    try:

        def fail(*_):
            raise ValueError("from on_log")

        with transunet.Runtime(device="cpu", on_log=fail, log_level="trace") as runtime:
            runtime.load(MODEL)
    finally:
        sys.unraisablehook = hook
    assert unraisable and all(isinstance(item.exc_value, ValueError) for item in unraisable)


TINY = """
data: { folder: patients }
output: run
split: { validation: 0.34 }
preset: tiny
architecture: { hidden: 16, heads: 2, layers: 1, mlp: 16, head_channels: 16, decoder_channels: [16, 8, 8, 8] }
input: { plane: axial, spacing: [8, 8] }
batch: 2
steps: 6
"""


def check_training(folder):
    subprocess.run([COMMAND, "demo", "--patients", "3", "--output", folder / "patients", "--quiet"], check=True)
    config = folder / "tiny.yaml"
    config.write_text(TINY)
    events = []
    model = RUNTIME.train(config, progress=events.append)
    train = [event for event in events if event.stage == "train"]
    same((train[-1].done, train[-1].total), (6, 6))
    assert train[-1].epoch >= 1 and train[-1].loss > 0
    same(len(model.labels), 6)
    bundle = folder / "run/model.safetensors"
    volume = Volume.from_array(np.zeros((2, 48, 48), np.int16))
    assert (RUNTIME.load(bundle).segment(volume).array == model.segment(volume).array).all()

    refused("holds a run already", RUNTIME.train, config)
    stopped = RUNTIME.train(
        config,
        data=folder / "patients",
        output=folder / "other",
        progress=lambda event: event.stage != "train" or event.done < 2,
    )
    assert isinstance(stopped, transunet.Model) and (folder / "other/model.safetensors").exists()
    steps = []
    RUNTIME.train(config, output=folder / "other", resume=True, progress=lambda event: steps.append(event))
    same([event.done for event in steps if event.stage == "train"][0], 2)

    def fail(event):
        raise RuntimeError("from the callable")

    raises(RuntimeError, "from the callable", RUNTIME.train, config, output=folder / "third", progress=fail)
    same(refused("absent.yaml", RUNTIME.train, folder / "absent.yaml", status=200).name, "IO")
    config.write_text("nonsense: 1\n" + TINY)
    same(refused("nonsense", RUNTIME.train, config, status=110).name, "CONFIG")
    same(
        refused("nonsense", RUNTIME.train, settings="nonsense: 1", data=folder, output=folder / "x", status=110).name,
        "CONFIG",
    )
    refused("data", RUNTIME.train, status=110)
    refused("settings: ", RUNTIME.train, settings={"steps": float("nan")})
    refused("settings: ", RUNTIME.train, settings={"steps": {1, 2}})
    refused("settings: a int", RUNTIME.train, settings=3)


def check_training_from_settings(folder):
    """No configuration file: a dict, and a text that replaces keys of a file."""
    subprocess.run([COMMAND, "demo", "--patients", "3", "--output", folder / "patients", "--quiet"], check=True)
    settings = {
        "data": {"folder": folder / "patients", "name": "Bäuche ☃"},
        "output": folder / "run",
        "split": {"validation": 0.34},
        "preset": "tiny",
        "architecture": {
            "hidden": 16,
            "heads": 2,
            "layers": 1,
            "mlp": 16,
            "head_channels": 16,
            "decoder_channels": [16, 8, 8, 8],
        },
        "input": {"plane": "axial", "spacing": [8, 8]},
        "batch": 2,
        "steps": 2,
    }
    steps = []
    model = RUNTIME.train(settings=settings, progress=steps.append)
    same(max(event.total for event in steps if event.stage == "train"), 2)
    assert "Bäuche ☃" in model.describe()["name"], model.describe()["name"]
    del settings["data"], settings["output"]
    RUNTIME.train(settings=settings, data=folder / "patients", output=folder / "by options")
    assert (folder / "by options/model.safetensors").exists()

    (folder / "tiny.yaml").write_text(TINY)
    del steps[:]
    RUNTIME.train(folder / "tiny.yaml", "steps: 3\nbatch: 1", output=folder / "laid over", progress=steps.append)
    same(max(event.total for event in steps if event.stage == "train"), 3)


main(globals())
