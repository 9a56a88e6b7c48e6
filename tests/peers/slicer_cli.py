"""3D Slicer's own logic of command line modules, without its window: registers modules and runs them.

slicer-core wraps the logic but not the class that holds a module's description, so that one is made through its C++
symbols.
"""
import ctypes
import os

import slicer
import slicer_core

_HOME = os.path.dirname(slicer_core.__file__)
_PARSER = ctypes.CDLL(os.path.join(_HOME, "third_party.libs", "libModuleDescriptionParser.so"))
_NODES = ctypes.CDLL(os.path.join(_HOME, "libMRMLCLI.so"))
_kept = []


def _string(text):
    """A std::string of the library's old ABI: a pointer to characters behind their length, capacity and references."""
    data = text.encode()
    header = b"".join(n.to_bytes(8, "little") for n in (len(data), len(data), 1000))
    buffer = ctypes.create_string_buffer(header + data + b"\0")
    pointer = ctypes.c_void_p(ctypes.addressof(buffer) + len(header))
    _kept.extend([buffer, pointer])
    return ctypes.byref(pointer)


def register(xml, kind, target):
    """Makes the module known by its title; `kind` is CommandLineModule or SharedObjectModule."""
    parser, description = ctypes.create_string_buffer(1 << 10), ctypes.create_string_buffer(1 << 16)
    _kept.append(description)
    _PARSER._ZN17ModuleDescriptionC1Ev(description)
    assert _PARSER._ZN23ModuleDescriptionParser5ParseERKSsR17ModuleDescription(parser, _string(xml), description) == 0
    _PARSER._ZN17ModuleDescription7SetTypeERKSs(description, _string(kind))
    _PARSER._ZN17ModuleDescription9SetTargetERKSs(description, _string(target))
    _NODES._ZN28vtkMRMLCommandLineModuleNode25RegisterModuleDescriptionE17ModuleDescription(description)


def register_executable(folder, name):
    with open(os.path.join(folder, name + ".xml")) as file:
        register(file.read(), "CommandLineModule", os.path.join(folder, name))


def register_shared(folder, name, title):
    """The shared form, under a title of its own; its description is the one in the library."""
    library = ctypes.CDLL(os.path.join(folder, f"lib{name}Lib.so"))
    xml = ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(library, "XMLModuleDescription"))).decode()
    own = xml[xml.index("<title>"):xml.index("</title>")]
    entry = ctypes.cast(library.ModuleEntryPoint, ctypes.c_void_p).value
    register(xml.replace(own, "<title>" + title), "SharedObjectModule", f"slicer:{entry:#x}")


class Host:
    """A scene, and the logic that runs modules in it. Files that pass between them stay in `folder`."""

    def __init__(self, folder):
        self.folder = folder
        self.scene = slicer.vtkMRMLScene()
        self.application = slicer.vtkSlicerApplicationLogic()
        self.application.SetMRMLScene(self.scene)
        self.application.SetTemporaryPath(folder)
        self.logic = slicer.vtkSlicerCLIModuleLogic()
        self.logic.DeleteTemporaryFilesOff()
        # As Slicer does for modules whose AllowInMemoryTransfer is false.
        self.logic.SetAllowInMemoryTransfer(0)
        self.logic.SetMRMLApplicationLogic(self.application)
        self.logic.SetMRMLScene(self.scene)

    def add(self, node):
        self.scene.AddNode(node)
        return node

    def run(self, title, **values):
        """The module's node after a run; nodes and texts are its parameters' values."""
        node = self.add(slicer.vtkMRMLCommandLineModuleNode())
        node.SetModuleDescription(title)
        assert node.GetModuleTitle() == title, node.GetModuleTitle()
        for name, value in values.items():
            if isinstance(value, str):
                node.SetParameterAsString(name, value)
            else:
                node.SetParameterAsNode(name, value)
        self.logic.ApplyAndWait(node, False)
        return node

    def written(self, ending):
        """The only file of that kind that modules wrote for output nodes: the application would read it next."""
        found = [name for name in os.listdir(self.folder) if name.endswith(ending)]
        assert len(found) == 1, found
        return os.path.join(self.folder, found[0])
