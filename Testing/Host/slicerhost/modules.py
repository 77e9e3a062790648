# SPDX-License-Identifier: Apache-2.0
"""Modules of the application: the loadable ones of slicer-core and scripted ones from files."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from .mrml import LOADABLE_MODULES
from .names import DesktopObject

_MODULE_PROPERTIES = {
    "acknowledgementText": "",
    "associatedNodeTypes": [],
    "categories": [],
    "contributors": [],
    "dependencies": [],
    "helpText": "",
    "hidden": False,
    "icon": None,
    "index": -1,
    "isBuiltIn": False,
    "isInstalled": True,
    "logo": None,
    "name": "",
    "path": "",
    "slicerWikiUrl": "",
    "title": "",
    "widgetRepresentationCreationEnabled": True,
}


class qSlicerLoadableModule(DesktopObject):  # noqa: N801  (the desktop's name)
    """A C++ module of slicer-core: its logic, without its panel."""

    desktop_class = "qSlicerLoadableModule"
    properties = _MODULE_PROPERTIES

    def __init__(self, name: str, title: str, logic):
        super().__init__()
        library = sys.modules[type(logic).__module__]
        self._logic = logic
        self._values.update(name=name, title=title, path=library.__file__, isBuiltIn=True)

    def logic(self):
        return self._logic

    def mrmlScene(self):
        return self._logic.GetMRMLScene()

    def widgetRepresentation(self):
        return None


class qSlicerScriptedLoadableModule(DesktopObject):  # noqa: N801  (the desktop's name)
    """What a scripted module gets as ``parent``, and what ``slicer.modules`` holds for it."""

    desktop_class = "qSlicerScriptedLoadableModule"
    properties = _MODULE_PROPERTIES | {"extensions": None}

    def __init__(self, name: str, path: Path, scene):
        super().__init__()
        self._scene = scene
        self._logic = None
        self._widget = None
        self._instance = None
        self._values.update(name=name, title=name, path=str(path))

    def mrmlScene(self):
        return self._scene

    def logic(self):
        """The generic C++ logic which the desktop makes for a scripted module."""
        import slicer

        if self._logic is None:
            self._logic = slicer.vtkSlicerScriptedLoadableModuleLogic()
            self._logic.SetMRMLScene(self._scene)
        return self._logic

    def widgetRepresentation(self):
        if self._widget is None and self.widgetRepresentationCreationEnabled:
            self._widget = self.createNewWidgetRepresentation()
        return self._widget

    def createNewWidgetRepresentation(self):
        from .panel import make_module_widget

        return make_module_widget(self)


class qSlicerModuleFactoryManager(DesktopObject):  # noqa: N801  (the desktop's name)
    desktop_class = "qSlicerModuleFactoryManager"

    def __init__(self, modules: dict):
        super().__init__()
        self._modules = modules

    def loadedModuleNames(self):
        return tuple(self._modules)

    def isLoaded(self, name):
        return name in self._modules


class qSlicerModuleManager(DesktopObject):  # noqa: N801  (the desktop's name)
    """Loads modules and knows them by name."""

    desktop_class = "qSlicerModuleManager"
    signals = {
        "moduleLoaded": "moduleLoaded(QString)",
        "moduleAboutToBeUnloaded": "moduleAboutToBeUnloaded(QString)",
    }

    def __init__(self, core):
        super().__init__()
        self._core = core
        self._modules = {}
        self._factory_manager = qSlicerModuleFactoryManager(self._modules)
        for name, (title, _) in LOADABLE_MODULES.items():
            self._add(qSlicerLoadableModule(name, title, core.module_logics[name]))

    def factoryManager(self):
        return self._factory_manager

    def module(self, name):
        return self._modules.get(name)

    def modulesNames(self):
        return tuple(self._modules)

    def _add(self, module) -> None:
        import slicer

        self._modules[module.name] = module
        setattr(slicer.modules, module.name.lower(), module)
        setattr(slicer.moduleNames, module.name, module.name)

    def _load_scripted(self, name: str, path: Path):
        """Loads a module file as the desktop's module factory does and returns its stand-in."""
        import slicer

        if name in self._modules:
            return self._modules[name]
        folder = str(path.parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        source = _import_file(name, path)
        module = qSlicerScriptedLoadableModule(name, path, self._core.scene)
        module._instance = getattr(source, name)(module)
        self._add(module)
        setattr(slicer.modules, f"{name}Instance", module._instance)
        self.moduleLoaded.emit(name)
        return module

    def _unload_scripted(self) -> None:
        """Unloads the scripted modules, the last one loaded first."""
        import slicer

        scripted = [
            name
            for name, module in self._modules.items()
            if isinstance(module, qSlicerScriptedLoadableModule)
        ]
        for name in reversed(scripted):
            self.moduleAboutToBeUnloaded.emit(name)
            module = self._modules.pop(name)
            if module._widget is not None:
                from .panel import delete_module_widget

                delete_module_widget(module._widget)
                module._widget = None
            for attribute in (name.lower(), f"{name}Instance", f"{name}Widget"):
                vars(slicer.modules).pop(attribute, None)
            vars(slicer.moduleNames).pop(name, None)
            sys.modules.pop(name, None)


def _import_file(name: str, path: Path):
    spec = importlib.util.spec_from_file_location(name, path)
    source = importlib.util.module_from_spec(spec)
    sys.modules[name] = source
    try:
        spec.loader.exec_module(source)
    except BaseException:
        del sys.modules[name]
        raise
    return source
