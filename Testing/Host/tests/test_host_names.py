# SPDX-License-Identifier: Apache-2.0
"""The host offers nothing that the desktop lacks."""

import inspect
import json
import sys
import types
from pathlib import Path

import pytest

from slicerhost import names

RECORDING = Path(__file__).resolve().parents[4] / "shared" / "slicer-api" / "surface.json.gz"

# As recorded; the desktop's answers to inspect.signature.
SIGNATURES = {
    "launchConsoleProcess": "(args: 'list[str]', useStartupEnvironment: 'bool' = True, "
    "updateEnvironment: 'dict[str, str] | None' = None, cwd: 'str | None' = None, "
    "blocking: 'bool",
    "downloadFile": "(url, targetFilePath, checksum=None, reDownloadIfChecksumInvalid=True)",
    "createProgressDialog": "(parent=None, value=0, maximum=100, labelText='', "
    "windowTitle='Processing...', **kwargs)",
    "tryWithErrorDisplay": "(message=None, show=True, waitCursor=False)",
    "loadUI": "(path)",
    "addVolumeFromArray": "(narray, ijkToRAS=None, name=None, nodeClassName=None)",
}
PACKAGING_SIGNATURES = {
    "pip_ensure": "(requirements: 'str | Requirement | list[str | Requirement]', constraints: "
    "'str | Path | None' = None, skip_packages: 'list[str] | None' = None, promp",
    "pip_check": "(req: 'str | Requirement | list[str | Requirement]', _seen: "
    "'set[tuple[str, frozenset[str]]] | None' = None) -> 'bool'",
    "pip_install": "(requirements: 'str | list[str]', constraints: 'str | Path | None' = None, "
    "no_deps_requirements: 'str | list[str] | None' = None, skip_packages: 'list",
    "load_requirements": "(path: 'str | Path') -> 'list[Requirement]'",
}


def public(names_):
    return {name for name in names_ if not name.startswith("_")}


def test_extract_is_that_of_the_recording():
    if not RECORDING.exists():
        pytest.skip("the recording of the desktop is not beside the checkout")
    stored = json.loads(names.NAMES_FILE.read_text(encoding="utf-8"))
    assert stored == names.extract(RECORDING)


def test_slicer_offers_only_what_the_desktop_has(slicer_scene):
    import slicer

    offered = {name for name in public(dir(slicer)) if not name.startswith("vtk")}
    # These are submodules, which appear in a namespace once something imports them.
    offered -= {"packaging"}
    # The desktop's tests put this one there.
    offered -= {"selfTests"}
    assert offered <= names.namespace_names("slicer")
    assert not hasattr(slicer, "getNode")
    assert not hasattr(slicer, "vtkMRMLLayerDMPipelineI")


def test_util_offers_only_what_the_desktop_has(slicer_scene):
    import slicer

    assert public(dir(slicer.util)) <= names.namespace_names("slicer.util")


def test_modules_offers_only_what_the_desktop_has(slicer_scene):
    import slicer

    offered = public(dir(slicer.modules)) - {"sampleDataSources", "sampleDataSourceCategories"}
    assert offered <= names.namespace_names("slicer.modules")
    with pytest.raises(AttributeError, match="module 'modules' has no attribute 'nosuch'"):
        _ = slicer.modules.nosuch


@pytest.mark.parametrize(
    "name",
    ["SampleData", "slicer.ScriptedLoadableModule", "slicer.i18n", "slicer.packaging"],
)
def test_desktop_modules_offer_only_what_the_desktop_has(slicer_scene, name):
    own = {
        attribute
        for attribute, value in vars(sys.modules[name]).items()
        if not attribute.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert own - {"Callable", "canonicalize_name", "urllib"} <= names.namespace_names(name)


def test_parameter_node_wrapper_offers_only_what_the_desktop_has(slicer_scene):
    import slicer.parameterNodeWrapper as wrapper

    assert set(wrapper.__all__) <= names.namespace_names("slicer.parameterNodeWrapper")
    assert all(hasattr(wrapper, name) for name in wrapper.__all__)


def test_application_offers_only_what_the_desktop_has(slicer_scene):
    import slicer

    objects = [
        slicer.app,
        slicer.app.ioManager(),
        slicer.app.layoutManager(),
        slicer.app.layoutManager().sliceWidget("Red"),
        slicer.app.layoutManager().threeDWidget(0).threeDView(),
        slicer.app.moduleManager(),
        slicer.modules.volumes,
    ]
    for item in objects:
        assert public(dir(item)) <= names.class_names(item.className()), item
        with pytest.raises(AttributeError, match=f"{item.className()} has no attribute named"):
            _ = item.noSuchThing
        with pytest.raises(AttributeError, match="creating new attributes on C\\+\\+ objects"):
            item.noSuchThing = 1


def test_a_name_the_desktop_lacks_cannot_be_written_down():
    with pytest.raises(TypeError, match="noSuchMethod"):

        class Wrong(names.DesktopObject):
            desktop_class = "qSlicerModuleManager"

            def noSuchMethod(self): ...


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature_of_util(slicer_scene, name):
    import slicer

    assert str(inspect.signature(getattr(slicer.util, name))).startswith(SIGNATURES[name])


@pytest.mark.parametrize("name", PACKAGING_SIGNATURES)
def test_signature_of_packaging(slicer_scene, name):
    import slicer

    signature = str(inspect.signature(getattr(slicer.packaging, name)))
    assert signature.startswith(PACKAGING_SIGNATURES[name])
