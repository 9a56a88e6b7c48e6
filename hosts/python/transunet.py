"""TransUNet: segmentation of medical images. The C API of libtransunet as Python, with numpy arrays without a copy.

    import transunet
    with transunet.Runtime() as runtime:
        model = runtime.load("hippocampus.safetensors")
        labels = model.segment(transunet.Volume.open("SERIES/"))
    labels.write("seg.dcm")
    labels.array            # uint8 [slices, rows, columns]

The library is the one that the environment variable TRANSUNET_LIBRARY names, else ../../libtransunet.so.1 seen from
this file (as installed), else the one that the system's loader finds. There is nothing to build; numpy is all it needs.

Space      Patient coordinates are DICOM's (LPS: x to the left, y to the back, z to the head) in millimetres. Voxels are
           indexed [slice k, row j, column i]; spacing and direction are given along i, j, k.
Ownership  Objects free what they hold when the last reference goes, in any order: each keeps what it needs of others.
           Only Runtime can be closed early; what was made with it lives on.
Threads    Calls release the interpreter's lock while the library works (ctypes.CDLL does): other threads go on.
           Every object may be used by several threads at once. Do not end the interpreter while a daemon thread is in
           a call.
Progress   A callable that takes a Progress, on the thread of the call. Returning False cancels, None or True goes on;
           an exception cancels and is raised by the call. Ctrl-C cancels too, with or without a progress callable.
Cancel     Cancel.trigger() stops calls from any thread; they raise Cancelled and leave no file behind.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from ctypes import POINTER, byref, c_char_p, c_double, c_int32, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional, Sequence, Union

import numpy as np

__all__ = [
    "Cancel", "Cancelled", "Code", "Error", "Geometry", "Label", "Labelmap", "Model", "Progress", "Runtime", "Volume",
    "devices", "manifest", "models", "series", "version",
]  # fmt: skip

PathLike = Union[str, "os.PathLike[str]"]


# What callers see of errors, progress and space


class Error(Exception):
    """A call failed. `str(error)` says what went wrong, where, and what was expected instead.

    status: number of the status (the TRANSUNET_STATUS_ constants of the C header), such as 110.
    name: its name, such as "CONFIG". Later versions may add statuses.
    """

    def __init__(self, status: int, name: str, message: str):
        super().__init__(message)
        self.status = status
        self.name = name
        self.message = message

    def __reduce__(self):
        return type(self), (self.status, self.name, self.message)


class Cancelled(Error):
    """The caller asked to stop; there is no output."""


@dataclass(frozen=True)
class Progress:
    """One progress event.

    stage: "read", "preprocess", "infer", "train", "validate", "write" or "compile"; later versions may add stages.
    epoch: 1-based while training, else 0.
    done, total: files, slices or steps; total 0 = unknown.
    loss, dice: NaN when not meaningful.
    """

    stage: str
    epoch: int
    done: int
    total: int
    loss: float
    dice: float


ProgressCallable = Callable[[Progress], Optional[bool]]


class Code(NamedTuple):
    """A coded concept (DICOM PS3.3 section 8.8), such as ("64033007", "SCT", "Kidney")."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Label:
    """A foreground label: its value in label maps (1 to 255), name, colour (sRGB, 0 to 255 each) and codes.

    category, type: Segmented Property Category and Type. modifier: laterality or another modifier of the type, or None.
    region: anatomic region, for findings such as lesions, or None.
    """

    value: int
    name: str
    rgb: tuple[int, int, int]
    category: Code
    type: Code
    modifier: Optional[Code]
    region: Optional[Code]


@dataclass(frozen=True)
class Geometry:
    """A grid in patient space (LPS, mm).

    size: columns, rows, slices. spacing: mm along i (columns), j (rows), k (slices).
    origin: centre of voxel (0, 0, 0). direction: unit vectors of the i, j and k axes, one after the other.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[tuple[float, float, float], ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of arrays on this grid: slices, rows, columns."""
        return self.size[::-1]

    @property
    def affine(self) -> np.ndarray:
        """float64 [4, 4]: from voxel indices (i, j, k, 1) to LPS mm. For RAS negate the first two rows."""
        affine = np.eye(4)
        affine[:3, :3] = np.array(self.direction).T * self.spacing
        affine[:3, 3] = self.origin
        return affine


# The C API: structs as in transunet.h, where the comments are


class _RuntimeOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t), ("device", c_char_p), ("kernel_cache", c_char_p), ("log_level", c_int32),
        ("cpu_threads", c_uint32), ("on_log", c_void_p), ("log_user_data", c_void_p),
    ]  # fmt: skip


class _Progress(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t), ("stage", c_int32), ("epoch", c_uint32), ("done", c_uint64), ("total", c_uint64),
        ("loss", c_double), ("dice", c_double),
    ]  # fmt: skip


class _ControlOptions(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("on_progress", c_void_p), ("user_data", c_void_p), ("cancel", c_void_p)]


class _Code(ctypes.Structure):
    _fields_ = [("value", c_char_p), ("scheme", c_char_p), ("meaning", c_char_p)]


class _LabelInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t), ("value", c_uint32), ("rgb", c_uint8 * 3), ("reserved", c_uint8), ("name", c_char_p),
        ("category", _Code), ("type", _Code), ("modifier", _Code), ("region", _Code),
    ]  # fmt: skip


class _ModelOptions(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("precision", c_int32), ("reserved", c_int32)]


class _VolumeOptions(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("series", c_char_p), ("tilt", c_char_p)]


class _Geometry(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t), ("columns", c_uint32), ("rows", c_uint32), ("slices", c_uint32),
        ("reserved", c_uint32), ("spacing", c_double * 3), ("origin", c_double * 3), ("direction", c_double * 9),
    ]  # fmt: skip


class _SegmentOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t), ("batch", c_size_t), ("probabilities_path", c_char_p),
        ("keep_probabilities", c_int32), ("reserved", c_int32),
    ]  # fmt: skip


class _SegOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t), ("series_description", c_char_p), ("content_label", c_char_p),
        ("content_description", c_char_p), ("content_creator", c_char_p), ("series_number", c_uint32),
        ("deterministic", c_int32), ("encoding", c_int32), ("compression", c_int32),
    ]  # fmt: skip


class _PictureOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t), ("window_low", c_double), ("window_high", c_double), ("opacity", c_double),
        ("slices", c_uint32), ("tile", c_uint32),
    ]  # fmt: skip


class _TrainOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t), ("data_folder", c_char_p), ("output_folder", c_char_p), ("settings", c_char_p),
        ("resume", c_int32), ("reserved", c_int32),
    ]  # fmt: skip


_ABI_VERSION = 1 << 16  # generation << 16 | revision, as in the header that this file was written for
_OK, _INVALID_ARGUMENT, _CANCELLED = 0, 100, 500
_LOG_LEVELS = {"error": 1, "warn": 2, "info": 3, "debug": 4, "trace": 5}
_PRECISIONS = {"f32": 0, "bf16": 1, "f16": 2}
_SEG_ENCODINGS = {"binary": 0, "fractional": 1, "labelmap": 2}
_SEG_COMPRESSIONS = {"none": 0, "rle": 1, "deflate": 2}
_STAGES = {1: "read", 2: "preprocess", 3: "infer", 4: "train", 5: "validate", 6: "write", 7: "compile"}
_VOXEL_TYPES = {"u1": 1, "i1": 2, "u2": 3, "i2": 4, "u4": 5, "i4": 6, "f4": 7, "f8": 8}

_ProgressFunction = ctypes.CFUNCTYPE(c_int32, POINTER(_Progress), c_void_p)
_LogFunction = ctypes.CFUNCTYPE(None, c_int32, c_char_p, c_char_p, c_void_p)

# Result and parameters of every function. Handles and pointers to structs are void pointers here.
_P, _S, _N = c_void_p, c_char_p, c_size_t
_FUNCTIONS = {
    "abi_version": (c_uint32, []),
    "version_string": (_S, []),
    "plugin_manifest": (_S, []),
    "status_name": (_S, [c_int32]),
    "error_code": (c_int32, [_P]),
    "error_message": (_S, [_P]),
    "error_free": (None, [_P]),
    "text_data": (_P, [_P]),
    "text_size": (_N, [_P]),
    "text_free": (None, [_P]),
    "device_list": (c_int32, [_P, _P]),
    "runtime_create": (c_int32, [_P, _P, _P]),
    "runtime_describe": (_S, [_P]),
    "runtime_free": (None, [_P]),
    "cancel_create": (c_int32, [_P, _P]),
    "cancel_trigger": (None, [_P]),
    "cancel_is_triggered": (c_int32, [_P]),
    "cancel_free": (None, [_P]),
    "models_list": (c_int32, [_S, _P, _P]),
    "model_load": (c_int32, [_P, _S, _P, _P, _P, _P]),
    "model_save": (c_int32, [_P, _S, _P]),
    "model_describe": (_S, [_P]),
    "model_label_count": (_N, [_P]),
    "model_label": (c_int32, [_P, _N, _P, _P]),
    "model_free": (None, [_P]),
    "series_list": (c_int32, [_S, _P, _P, _P]),
    "volume_open": (c_int32, [_S, _P, _P, _P, _P]),
    "volume_open_files": (c_int32, [_P, _N, _P, _P, _P, _P]),
    "volume_from_memory": (c_int32, [_P, _N, c_int32, _P, _P, _P]),
    "volume_geometry": (c_int32, [_P, _P, _P]),
    "volume_describe": (_S, [_P]),
    "volume_read_slice": (c_int32, [_P, c_uint32, _P, _N, _P]),
    "volume_free": (None, [_P]),
    "segment": (c_int32, [_P, _P, _P, _P, _P, _P]),
    "labelmap_geometry": (c_int32, [_P, _P, _P]),
    "labelmap_voxels": (_P, [_P, _P]),
    "labelmap_read_slice": (c_int32, [_P, c_uint32, _P, _N, _P]),
    "labelmap_with_voxels": (c_int32, [_P, _P, _N, _P, _P]),
    "labelmap_describe": (_S, [_P]),
    "labelmap_label_count": (_N, [_P]),
    "labelmap_label": (c_int32, [_P, _N, _P, _P]),
    "labelmap_statistics": (c_int32, [_P, _P, _P, _P]),
    "labelmap_write": (c_int32, [_P, _S, _P, _P]),
    "labelmap_write_dicom_seg": (c_int32, [_P, _S, _P, _P, _P]),
    "labelmap_write_picture": (c_int32, [_P, _S, _P, _P, _P]),
    "labelmap_free": (None, [_P]),
    "train": (c_int32, [_P, _S, _P, _P, _P, _P]),
}


def _load_library() -> Any:
    """Finds the library, checks its ABI and declares its functions; they lie in the result without "transunet_"."""
    file = {"win32": "transunet.dll", "darwin": "libtransunet.1.dylib"}.get(sys.platform, "libtransunet.so.1")
    installed = Path(__file__).resolve().parents[2] / file
    path = os.environ.get("TRANSUNET_LIBRARY") or (str(installed) if installed.exists() else file)
    functions = type("libtransunet", (), {})()
    try:
        library = ctypes.CDLL(path)
        found = library.transunet_abi_version()
        if found >> 16 != _ABI_VERSION >> 16 or found < _ABI_VERSION:
            needed = f"generation {_ABI_VERSION >> 16}, revision {_ABI_VERSION & 0xFFFF} or later"
            raise ImportError(f"{path} has ABI generation {found >> 16}, revision {found & 0xFFFF}; needed is {needed}")
        for name, (result, parameters) in _FUNCTIONS.items():
            function = getattr(library, f"transunet_{name}")
            function.restype, function.argtypes = result, parameters
            setattr(functions, name, function)
    except (OSError, AttributeError) as error:
        raise ImportError(
            f"no TransUNet library: {error} (looked at TRANSUNET_LIBRARY, {installed} and the loader's path for {file})"
        ) from error
    return functions


_lib = _load_library()


# Calls: handles, errors, callbacks


class _Handle:
    """Owns a handle of the library and frees it once, when the last reference goes.

    Whoever is about to call with it has a reference, so it is never freed under a call.
    """

    def __init__(self, address: c_void_p, free: Callable[[c_void_p], None], keep: Any = None):
        self._as_parameter_ = address  # what ctypes passes for this object
        self._free = free
        self._keep = keep

    def __del__(self):
        self._free(self._as_parameter_)


def _refuse(message: str) -> Error:
    return Error(_INVALID_ARGUMENT, "INVALID_ARGUMENT", message)


def _call(function: Any, *arguments: Any) -> None:
    """Calls a function whose last parameter is the error; raises what it reports."""
    error = c_void_p()
    status = function(*arguments, byref(error))
    if status != _OK:
        message = _lib.error_message(error).decode()
        _lib.error_free(error)
        kind = Cancelled if status == _CANCELLED else Error
        raise kind(status, _lib.status_name(status).decode(), message)


def _make(free: Any, function: Any, *arguments: Any, keep: Any = None) -> _Handle:
    """Calls a function whose last parameters are a handle and the error."""
    out = c_void_p()
    _call(function, *arguments, byref(out))
    return _Handle(out, free, keep)


def _make_json(function: Any, *arguments: Any) -> Any:
    """Calls a function that makes a text of JSON."""
    text = _make(_lib.text_free, function, *arguments)
    return json.loads(ctypes.string_at(_lib.text_data(text), _lib.text_size(text)))


def _sized(kind: Any, **fields: Any) -> Any:
    return kind(struct_size=ctypes.sizeof(kind), **fields)


def _text(value: Optional[str], what: str) -> Optional[bytes]:
    """UTF-8 as the library takes it. None stays None."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise _refuse(f"{what}: a {type(value).__name__}, expected a text")
    if "\0" in value:
        raise _refuse(f"{what}: {value!r} has a NUL in it")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        raise _refuse(f"{what}: {value!r} cannot be written as UTF-8") from None


def _path(value: Optional[PathLike], what: str) -> Optional[bytes]:
    return _text(os.fspath(value) if isinstance(value, os.PathLike) else value, what)


def _number(value: Any, what: str, limit: int = 2**32) -> int:
    """A count as the library takes it; ctypes would cut off high bits without a word."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < limit:
        raise _refuse(f"{what}: {value!r}, expected a whole number from 0 to {limit - 1}")
    return int(value)


class _Control:
    """Progress and cancel of one call. On the way out it raises what the progress callable or Ctrl-C raised."""

    def __init__(self, progress: Optional[ProgressCallable], cancel: Optional[Cancel]):
        if progress is not None and not callable(progress):
            raise _refuse(f"progress: a {type(progress).__name__}, expected a callable")
        if cancel is not None and not isinstance(cancel, Cancel):
            raise _refuse(f"cancel: a {type(cancel).__name__}, expected a transunet.Cancel")
        self._failure: Optional[BaseException] = None
        self._progress = progress
        # Even without a callable, so that Python gets to see Ctrl-C while the library works.
        self._function: Any = _ProgressFunction(self._report)
        self._options = _sized(
            _ControlOptions,
            on_progress=ctypes.cast(self._function, c_void_p),
            cancel=cancel._handle._as_parameter_ if cancel else None,
        )
        self._as_parameter_ = ctypes.addressof(self._options)

    def _report(self, event: Any, _: Any) -> int:
        try:
            if self._failure is None and self._progress is not None:
                event = event.contents
                stage = _STAGES.get(event.stage, f"stage {event.stage}")
                answer = self._progress(Progress(stage, event.epoch, event.done, event.total, event.loss, event.dice))
                return int(isinstance(answer, (bool, np.bool_)) and not answer)
        except BaseException as failure:  # nothing may cross into the library
            self._failure = failure
        return int(self._failure is not None)

    def _interrupt(self, number: int, frame: Any) -> None:
        # Signals are handled on entry to _report, where its try does not reach: raising there would lose the exception.
        try:
            self._handler(number, frame)
        except BaseException as failure:
            self._failure = failure

    def __enter__(self) -> _Control:
        handler = signal.getsignal(signal.SIGINT)
        self._handler: Any = handler if callable(handler) else None
        if self._handler is not None:
            try:
                signal.signal(signal.SIGINT, self._interrupt)
            except ValueError:  # signals are the main thread's
                self._handler = None
        return self

    def __exit__(self, *_: Any) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
        self._function = None  # it refers to self: no cycle is left for the collector
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


class Cancel:
    """A flag that stops every call it is given to, now or later. It stays triggered."""

    def __init__(self):
        self._handle = _make(_lib.cancel_free, _lib.cancel_create)

    def trigger(self) -> None:
        """From any thread; never blocks."""
        _lib.cancel_trigger(self._handle)

    @property
    def triggered(self) -> bool:
        return bool(_lib.cancel_is_triggered(self._handle))


# What needs no runtime


def version() -> str:
    """The version of the library, such as "0.1.0"."""
    return _lib.version_string().decode()


def manifest() -> dict:
    """The plugin manifest: identity, entry points, parameters with their defaults, ranges and help."""
    return json.loads(_lib.plugin_manifest())


def devices() -> list:
    """All devices that could be used here: "id" ("cpu", "cuda:0"), "name", "memory_bytes", "unusable" (why) of each."""
    return _make_json(_lib.device_list)


def models(folder: Optional[PathLike] = None) -> dict:
    """The models to choose from: {"folders": [...], "models": [{"id", "path", "name", "labels", ...}], "unreadable"}.

    folder: where to look; None = the folders of TRANSUNET_MODELS and those installed with the library.
    """
    return _make_json(_lib.models_list, _path(folder, "folder"))


def series(path: PathLike, progress: Optional[ProgressCallable] = None, cancel: Optional[Cancel] = None) -> dict:
    """The DICOM series in a folder (any nesting) or file; pixels are not read.

    {"series": [{"study_uid", "series_uid", "modality", "description", "number", "images", "rows", "columns",
    "refusal": why it cannot be opened or None}], "unreadable": [{"path", "reason"}], "skipped": number of other files}
    """
    with _Control(progress, cancel) as control:
        return _make_json(_lib.series_list, _path(path, "path"), control)


# Runtime, volume, model, label map


class Runtime:
    """Open devices. A context manager; closing it leaves its models usable.

    device: "auto" (a GPU if usable, else the CPU), "cpu", "cuda:0", or several GPUs that share the work, "cuda:0,cuda:1".
    threads: that compute on the CPU; 0 = one for each core. The first runtime decides for the process.
    on_log: callable(level, target, message), three texts; from any thread, one call at a time. What it raises goes to
        sys.unraisablehook. It must not close its runtime.
    log_level: "error", "warn", "info", "debug" or "trace"; the last two may name patients' files and identifiers.
    kernel_cache: folder where a GPU's compiled kernels are kept for later processes; None = in the user's folder for caches.
        The first runtime that says one decides for the process.
    """

    def __init__(
        self,
        device: str = "auto",
        threads: int = 0,
        on_log: Optional[Callable[[str, str, str], Any]] = None,
        log_level: str = "warn",
        kernel_cache: Optional[PathLike] = None,
    ):
        if log_level not in _LOG_LEVELS:
            raise _refuse(f"log_level: {log_level!r}, expected one of {', '.join(_LOG_LEVELS)}")
        if on_log is not None and not callable(on_log):
            raise _refuse(f"on_log: a {type(on_log).__name__}, expected a callable")
        names = {number: name for name, number in _LOG_LEVELS.items()}

        def log(level: int, target: bytes, message: bytes, _: Any, on_log: Any = on_log) -> None:
            on_log(names.get(level, str(level)), target.decode(), message.decode())

        function = _LogFunction(log) if on_log else None
        options = _sized(
            _RuntimeOptions,
            device=_text(device, "device"),
            kernel_cache=_path(kernel_cache, "kernel_cache"),
            log_level=_LOG_LEVELS[log_level],
            cpu_threads=_number(threads, "threads"),
            on_log=ctypes.cast(function, c_void_p) if function else None,
        )
        create = _lib.runtime_create
        self._handle: Optional[_Handle] = _make(_lib.runtime_free, create, byref(options), keep=function)

    def _open(self) -> _Handle:
        handle = self._handle
        if handle is None:
            raise _refuse("the runtime is closed")
        return handle

    def close(self) -> None:
        """Calls that run with it go on; its models live on. Closing twice does nothing."""
        self._handle = None

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def describe(self) -> dict:
        """{"version", "abi_version", "devices": [...], "fallback": why "auto" took no GPU or None, "cpu_threads"}"""
        return json.loads(_lib.runtime_describe(self._open()))

    def load(
        self,
        model: PathLike,
        progress: Optional[ProgressCallable] = None,
        cancel: Optional[Cancel] = None,
        precision: str = "f32",
    ) -> Model:
        """Loads a bundle, a folder with one, a foreign checkpoint (.pth, .npz, .safetensors), or models() by id.

        precision: what the network computes with: "f32", or on a GPU "bf16" or "f16", which take half the memory.
        """
        options = _sized(_ModelOptions, precision=_choice(_PRECISIONS, precision, "precision"))
        with _Control(progress, cancel) as control:
            arguments = self._open(), _path(model, "model"), byref(options), control
            return Model(_make(_lib.model_free, _lib.model_load, *arguments))

    def train(
        self,
        config: Optional[PathLike] = None,
        settings: Union[str, dict, None] = None,
        data: Optional[PathLike] = None,
        output: Optional[PathLike] = None,
        resume: bool = False,
        progress: Optional[ProgressCallable] = None,
        cancel: Optional[Cancel] = None,
    ) -> Model:
        """Trains as the YAML file `config` and, laid over it, `settings` (YAML text or a dict) say. Blocks, for hours.

        data, output: folders instead of the configuration's. resume: go on from the output folder's checkpoint.
        Cancelled after the first step, the run is kept and can be resumed, and this returns the model so far.
        """
        if isinstance(settings, dict):
            try:  # JSON is YAML
                settings = json.dumps(settings, ensure_ascii=False, allow_nan=False, default=os.fspath)
            except (TypeError, ValueError) as error:
                raise _refuse(f"settings: {error}") from error
        options = _sized(
            _TrainOptions,
            data_folder=_path(data, "data"),
            output_folder=_path(output, "output"),
            resume=bool(resume),
            settings=_text(settings, "settings"),
        )
        with _Control(progress, cancel) as control:
            arguments = self._open(), _path(config, "config"), byref(options), control
            return Model(_make(_lib.model_free, _lib.train, *arguments))


class Volume:
    """Voxels in modality units (HU for CT) on a grid in patient space. Made by open, open_files or from_array."""

    def __init__(self, handle: _Handle):
        self._handle = handle

    @classmethod
    def open(
        cls,
        path: PathLike,
        series: Optional[str] = None,
        tilt: Optional[str] = None,
        progress: Optional[ProgressCallable] = None,
        cancel: Optional[Cancel] = None,
    ) -> Volume:
        """Opens a DICOM folder or file, a NRRD or a NIfTI file, which must stay while the volume is in use.

        series: which DICOM series where there are several, and which volume of it: Series Instance UID, Series Number,
        or rules that must all fit, such as "modality=MR,description=t1,slices>=20" or "number=3,time=2".
        tilt: what becomes of slices stacked askew: "keep" (usual), "resample" or "refuse".
        """
        options = _sized(_VolumeOptions, series=_text(series, "series"), tilt=_text(tilt, "tilt"))
        with _Control(progress, cancel) as control:
            arguments = _path(path, "path"), byref(options), control
            return cls(_make(_lib.volume_free, _lib.volume_open, *arguments))

    @classmethod
    def open_files(
        cls,
        paths: Sequence[PathLike],
        series: Optional[str] = None,
        tilt: Optional[str] = None,
        progress: Optional[ProgressCallable] = None,
        cancel: Optional[Cancel] = None,
    ) -> Volume:
        """Opens the DICOM series that these files make; other files are not looked at."""
        files = (c_char_p * len(paths))(*(_path(path, "paths") for path in paths))
        options = _sized(_VolumeOptions, series=_text(series, "series"), tilt=_text(tilt, "tilt"))
        with _Control(progress, cancel) as control:
            arguments = files, len(paths), byref(options), control
            return cls(_make(_lib.volume_free, _lib.volume_open_files, *arguments))

    @classmethod
    def from_array(
        cls,
        array: np.ndarray,
        spacing: Sequence[float] = (1.0, 1.0, 1.0),
        origin: Sequence[float] = (0.0, 0.0, 0.0),
        direction: Any = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    ) -> Volume:
        """Makes a volume of voxels [slices, rows, columns] in modality units; the array is free after the call.

        array: 8, 16 or 32 bit integers, float32 or float64. The library reads the array's own memory where that is
        C-contiguous and of the machine's byte order; else numpy puts it in order first.
        spacing: mm along i (columns), j (rows), k (slices). origin: LPS mm of the centre of array[0, 0, 0].
        direction: unit vectors of i, j, k in LPS, one after the other ([3, 3] or 9 numbers). Matrices that have the
        axes in their columns (ITK, NIfTI) must be transposed.
        """
        array = np.asarray(array)
        if array.ndim != 3 or not array.size:
            raise _refuse(f"array: shape {array.shape}, expected (slices, rows, columns), none of them 0")
        voxel_type = _VOXEL_TYPES.get(array.dtype.str[1:])
        if voxel_type is None:
            raise _refuse(f"array: dtype {array.dtype}, expected u/int8, 16 or 32, float32 or float64")
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        slices, rows, columns = (_number(n, "array") for n in array.shape)
        geometry = _sized(_Geometry, columns=columns, rows=rows, slices=slices)
        geometry.spacing[:] = _numbers(spacing, 3, "spacing")
        geometry.origin[:] = _numbers(origin, 3, "origin")
        geometry.direction[:] = _numbers(direction, 9, "direction")
        arguments = array.ctypes.data, array.nbytes, voxel_type, byref(geometry)
        return cls(_make(_lib.volume_free, _lib.volume_from_memory, *arguments))

    @property
    def geometry(self) -> Geometry:
        return _geometry(_lib.volume_geometry, self._handle)

    def describe(self) -> dict:
        """{"origin": path, series or "memory", "geometry": {...}, "series": None or {"study_uid", ...}}"""
        return json.loads(_lib.volume_describe(self._handle))

    def array(self) -> np.ndarray:
        """A new float32 array [slices, rows, columns] in modality units."""
        voxels = np.empty(self.geometry.shape, np.float32)
        for k, plane in enumerate(voxels):
            _call(_lib.volume_read_slice, self._handle, k, plane.ctypes.data, plane.size)
        return voxels

    def slice(self, k: int) -> np.ndarray:
        """A new float32 array [rows, columns] of slice k; of a DICOM series, only this slice is read."""
        plane = np.empty(self.geometry.shape[1:], np.float32)
        _call(_lib.volume_read_slice, self._handle, _number(k, "k"), plane.ctypes.data, plane.size)
        return plane


class Model:
    """Weights on a device with their description and labels. Made by Runtime.load and Runtime.train."""

    def __init__(self, handle: _Handle):
        self._handle = handle

    @property
    def labels(self) -> list[Label]:
        """The foreground labels, in order of value."""
        return _labels(_lib.model_label_count, _lib.model_label, self._handle)

    def describe(self) -> dict:
        """The description ("name", "architecture", "input", "labels", ...), "devices", "precision", "sha256" and "warnings"."""
        return json.loads(_lib.model_describe(self._handle))

    def save(self, path: PathLike) -> None:
        """Writes a bundle; the file appears whole or not at all."""
        _call(_lib.model_save, self._handle, _path(path, "path"))

    def segment(
        self,
        volume: Volume,
        batch: int = 0,
        probabilities: Optional[PathLike] = None,
        keep_probabilities: bool = False,
        progress: Optional[ProgressCallable] = None,
        cancel: Optional[Cancel] = None,
    ) -> Labelmap:
        """Segments a volume. Several threads may segment with one model.

        batch: slices per pass of the network; 0 = the library's choice.
        probabilities: also write class probabilities to this file (.nii.gz: float32, one volume per class).
        keep_probabilities: the label map keeps its labels' probabilities, in a temporary file without a name, for
        Labelmap.write_dicom_seg(encoding="fractional").
        """
        if not isinstance(volume, Volume):
            raise _refuse(f"volume: a {type(volume).__name__}, expected a transunet.Volume")
        options = _sized(
            _SegmentOptions,
            batch=_number(batch, "batch"),
            probabilities_path=_path(probabilities, "probabilities"),
            keep_probabilities=bool(keep_probabilities),
        )
        with _Control(progress, cancel) as control:
            arguments = self._handle, volume._handle, byref(options), control
            return Labelmap(_make(_lib.labelmap_free, _lib.segment, *arguments))


class Labelmap:
    """One label per voxel on the grid of the volume that was segmented, which it keeps. Immutable."""

    def __init__(self, handle: _Handle):
        self._handle = handle

    @property
    def array(self) -> np.ndarray:
        """uint8 [slices, rows, columns], 0 = background: the library's own memory, read-only, which the array keeps.

        A label map holds its slices packed: the first array unpacks them, a byte for each voxel, for as long as it lives.
        """
        count = c_size_t()
        address = _lib.labelmap_voxels(self._handle, byref(count))
        if not address:
            raise MemoryError("no memory for the labels")
        memory: Any = (c_uint8 * count.value).from_address(address)
        memory.handle = self._handle  # lives as long as arrays that show this memory
        return np.frombuffer(memoryview(memory).toreadonly(), np.uint8).reshape(self.geometry.shape)

    def slice(self, k: int) -> np.ndarray:
        """A new uint8 array [rows, columns] of slice k; only this slice is unpacked."""
        plane = np.empty(self.geometry.shape[1:], np.uint8)
        _call(_lib.labelmap_read_slice, self._handle, _number(k, "k"), plane.ctypes.data, plane.size)
        return plane

    @property
    def geometry(self) -> Geometry:
        return _geometry(_lib.labelmap_geometry, self._handle)

    @property
    def labels(self) -> list[Label]:
        """The foreground labels, in order of value, whether or not a voxel has them."""
        return _labels(_lib.labelmap_label_count, _lib.labelmap_label, self._handle)

    def describe(self) -> dict:
        """{"algorithm": {"name", "version"}, "source": origin of the volume, "geometry": {...}, "labels": [...], "receipt"}"""
        return json.loads(_lib.labelmap_describe(self._handle))

    def statistics(self, progress: Optional[ProgressCallable] = None, cancel: Optional[Cancel] = None) -> dict:
        """Volumes (ml), extents and mean intensity of the labels."""
        with _Control(progress, cancel) as control:
            return _make_json(_lib.labelmap_statistics, self._handle, control)

    def with_array(self, array: np.ndarray) -> Labelmap:
        """A label map like this one with other voxels, which are copied: what a person has corrected.

        array: uint8 [slices, rows, columns]; every value 0 or that of a label.
        """
        array = np.asarray(array)
        shape = self.geometry.shape
        if array.dtype != np.uint8 or array.shape != shape:
            raise _refuse(f"array: {array.dtype} of shape {array.shape}, expected uint8 of shape {shape}")
        array = np.ascontiguousarray(array)
        arguments = self._handle, array.ctypes.data, array.size
        return Labelmap(_make(_lib.labelmap_free, _lib.labelmap_with_voxels, *arguments))

    def write(
        self, path: PathLike, progress: Optional[ProgressCallable] = None, cancel: Optional[Cancel] = None
    ) -> None:
        """Writes what the name says: .dcm (DICOM SEG), .seg.nrrd, .nrrd, .nii, .nii.gz. Whole or not at all."""
        with _Control(progress, cancel) as control:
            _call(_lib.labelmap_write, self._handle, _path(path, "path"), control)

    def write_dicom_seg(
        self,
        path: PathLike,
        series_description: Optional[str] = None,
        content_label: Optional[str] = None,
        content_description: Optional[str] = None,
        content_creator: Optional[str] = None,
        series_number: int = 0,
        deterministic: bool = False,
        encoding: str = "binary",
        compression: str = "none",
        progress: Optional[ProgressCallable] = None,
        cancel: Optional[Cancel] = None,
    ) -> None:
        """Writes a DICOM SEG that refers to the series that was segmented. Whole or not at all.

        None and 0 are the library's choice. content_label: at most 16 of A-Z, 0-9, space and underscore.
        deterministic: equal input gives equal bytes (UIDs and date follow from the content).
        encoding: "binary", "fractional" (probabilities, if they were kept) or "labelmap". compression: "none", "rle" (not
        with "binary") or "deflate".
        """
        options = _sized(
            _SegOptions,
            series_description=_text(series_description, "series_description"),
            content_label=_text(content_label, "content_label"),
            content_description=_text(content_description, "content_description"),
            content_creator=_text(content_creator, "content_creator"),
            series_number=_number(series_number, "series_number"),
            deterministic=bool(deterministic),
            encoding=_choice(_SEG_ENCODINGS, encoding, "encoding"),
            compression=_choice(_SEG_COMPRESSIONS, compression, "compression"),
        )
        with _Control(progress, cancel) as control:
            arguments = self._handle, _path(path, "path"), byref(options), control
            _call(_lib.labelmap_write_dicom_seg, *arguments)

    def write_picture(
        self,
        path: PathLike,
        window: Sequence[float] = (0.0, 0.0),
        opacity: float = 0.0,
        slices: int = 0,
        tile: int = 0,
        progress: Optional[ProgressCallable] = None,
        cancel: Optional[Cancel] = None,
    ) -> None:
        """Writes a contact sheet (PNG): slices with their labels in colour. Whole or not at all.

        window: modality units drawn black and white; both 0 = found from the volume. opacity: of the labels, up to 1.
        slices: about how many to show. tile: longer side of a slice in pixels. 0 = the library's choice.
        """
        low, high = _numbers(window, 2, "window")
        (opacity,) = _numbers(opacity, 1, "opacity")
        options = _sized(
            _PictureOptions,
            window_low=low,
            window_high=high,
            opacity=opacity,
            slices=_number(slices, "slices"),
            tile=_number(tile, "tile"),
        )
        with _Control(progress, cancel) as control:
            arguments = self._handle, _path(path, "path"), byref(options), control
            _call(_lib.labelmap_write_picture, *arguments)


def _choice(numbers: dict[str, int], name: str, what: str) -> int:
    if name not in numbers:
        raise _refuse(f"{what}: {name!r}, expected one of {', '.join(numbers)}")
    return numbers[name]


def _numbers(values: Any, count: int, what: str) -> list[float]:
    try:
        numbers = np.asarray(values, np.float64).ravel()
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.size != count:
        raise _refuse(f"{what}: {values!r}, expected {count} numbers")
    return numbers.tolist()


def _geometry(function: Any, handle: _Handle) -> Geometry:
    out = _sized(_Geometry)
    _call(function, handle, byref(out))
    axes = tuple(tuple(out.direction[3 * axis : 3 * axis + 3]) for axis in range(3))
    return Geometry((out.columns, out.rows, out.slices), tuple(out.spacing), tuple(out.origin), axes)


def _labels(count: Any, function: Any, handle: _Handle) -> list[Label]:
    def code(of: Any) -> Code:
        return Code(of.value.decode(), of.scheme.decode(), of.meaning.decode())

    def optional(of: Any) -> Optional[Code]:
        return code(of) if of.value else None

    labels = []
    for index in range(count(handle)):
        out = _sized(_LabelInfo)
        _call(function, handle, index, byref(out))
        name, rgb = out.name.decode(), tuple(out.rgb)
        labels.append(
            Label(
                out.value, name, rgb, code(out.category), code(out.type), optional(out.modifier), optional(out.region)
            )
        )
    return labels
