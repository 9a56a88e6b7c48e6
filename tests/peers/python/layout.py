"""transunet.py against the header: functions, structs byte for byte, constants; other libraries are refused."""

import ctypes
import os
import re
import subprocess
import sys

from checks import ROOT, main, same, transunet

HEADER = (ROOT / "include/transunet.h").read_text()
GOLDEN = [line.split() for line in (ROOT / "tests/golden/layout.txt").read_text().splitlines()]
STRUCTS = {
    "runtime_options": transunet._RuntimeOptions,
    "progress": transunet._Progress,
    "control": transunet._ControlOptions,
    "code": transunet._Code,
    "label_info": transunet._LabelInfo,
    "model_options": transunet._ModelOptions,
    "volume_options": transunet._VolumeOptions,
    "geometry": transunet._Geometry,
    "segment_options": transunet._SegmentOptions,
    "seg_options": transunet._SegOptions,
    "picture_options": transunet._PictureOptions,
    "train_options": transunet._TrainOptions,
}


def check_functions(_):
    declared = set(re.findall(r"\btransunet_(\w+)\(", re.sub(r"/\*.*?\*/", "", HEADER, flags=re.S)))
    same(set(transunet._FUNCTIONS), declared)
    for name in declared:
        parameters = re.search(rf"\btransunet_{name}\(([^)]*)\)", re.sub(r"/\*.*?\*/", "", HEADER, flags=re.S)).group(1)
        count = 0 if parameters.strip() == "void" else parameters.count(",") + 1
        same((name, len(transunet._FUNCTIONS[name][1])), (name, count))


def check_structs(_):
    golden = {name: numbers for name, *numbers in GOLDEN if name.startswith("transunet_")}
    ours = {}
    for name, kind in STRUCTS.items():
        ours[f"transunet_{name}"] = [str(ctypes.sizeof(kind))]
        for field, *_ in kind._fields_:
            place = getattr(kind, field)
            ours[f"transunet_{name}.{field}"] = [str(place.offset), str(place.size)]
    same(ours, golden)


def check_constants(_):
    golden = {name: int(numbers[0]) for name, *numbers in GOLDEN if name.startswith("TRANSUNET_")}
    same(transunet._ABI_VERSION, golden["TRANSUNET_ABI_VERSION"])
    for prefix, names in {
        "LOG": transunet._LOG_LEVELS,
        "PRECISION": transunet._PRECISIONS,
        "STAGE": {name: number for number, name in transunet._STAGES.items()},
    }.items():
        ours = {f"TRANSUNET_{prefix}_{name.upper()}": number for name, number in names.items()}
        theirs = {name: number for name, number in golden.items() if name.startswith(f"TRANSUNET_{prefix}_")}
        theirs.pop("TRANSUNET_LOG_DEFAULT", None)
        same(ours, theirs)
    for name, kind in zip("U8 I8 U16 I16 U32 I32 F32 F64".split(), "u1 i1 u2 i2 u4 i4 f4 f8".split()):
        same(transunet._VOXEL_TYPES[kind], golden[f"TRANSUNET_VOXEL_{name}"])
    for name in ("OK", "INVALID_ARGUMENT", "CANCELLED"):
        same(getattr(transunet, f"_{name}"), golden[f"TRANSUNET_STATUS_{name}"])


def imports(library):
    """What importing transunet.py with that library says."""
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'hosts/python')!r}); import transunet"
    environment = {**os.environ, "TRANSUNET_LIBRARY": str(library)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def check_other_libraries_are_refused(folder):
    def compiled(name, source):
        (folder / "library.c").write_text(source)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / name, folder / "library.c"], check=True)
        return folder / name

    for library, message in [
        (folder / "absent.so", "ImportError: no TransUNet library: "),
        (
            compiled("next.so", "unsigned transunet_abi_version(void) { return 2u << 16; }"),
            "next.so has ABI generation 2, revision 0",
        ),
        (
            compiled("old.so", "unsigned transunet_abi_version(void) { return 0xffff; }"),
            "old.so has ABI generation 0, revision 65535",
        ),
        (
            compiled("part.so", "unsigned transunet_abi_version(void) { return 1u << 16; }"),
            "undefined symbol: transunet_",
        ),
        (compiled("other.so", "int nothing;"), "ImportError: no TransUNet library: "),
    ]:
        run = imports(library)
        assert run.returncode == 1 and message in run.stderr and library.name in run.stderr, run.stderr


main(globals())
