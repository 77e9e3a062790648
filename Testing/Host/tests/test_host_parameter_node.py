# SPDX-License-Identifier: Apache-2.0
"""Parameter nodes hold what the desktop writes, and read what it wrote."""

import enum
import pathlib
from typing import Annotated, Any, Optional

import pytest


class Device(enum.Enum):
    AUTO = 1
    CPU = 2


@pytest.fixture
def node(slicer_scene):
    return slicer_scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")


def make(node, **annotations):
    """A wrapper of the node with these parameters."""
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    return parameterNodeWrapper(type("Parameters", (), {"__annotations__": annotations}))(node)


def stored(node):
    return {name: node.GetParameter(name) for name in node.GetParameterNamesAsCommaSeparatedList()
            .split(",") if name}


def test_defaults_are_written_when_the_wrapper_is_made(node):
    from slicer.parameterNodeWrapper import Default

    parameters = make(
        node,
        count=Annotated[int, Default(3)],
        scale=float,
        name=str,
        sides=Annotated[bool, Default(True)],
        path=pathlib.Path,
        device=Device,
    )
    assert stored(node) == {
        "count": "3",
        "scale": "0",
        "name": "",
        "sides": "True",
        "path": ".",
        "device": "AUTO",
    }
    assert (parameters.count, parameters.scale, parameters.sides) == (3, 0.0, True)
    assert parameters.device is Device.AUTO
    assert parameters.default("count").value == 3


def test_values_of_the_desktop_are_read_and_not_overwritten(node):
    node.SetParameter("count", "8")
    node.SetParameter("sides", "False")
    parameters = make(node, count=int, sides=bool)
    assert (parameters.count, parameters.sides) == (8, False)


def test_list_tuple_dictionary_and_union(node):
    parameters = make(
        node, values=list[float], pair=tuple[int, str], table=dict[str, int], maybe=Optional[int]  # noqa: UP045
    )
    assert parameters.maybe is None
    parameters.values = [1.5, 2.0]
    parameters.values.append(3.0)
    parameters.pair = (4, "x")
    parameters.table = {"a": 1}
    parameters.table["b"] = 2
    parameters.maybe = 5
    assert stored(node) == {
        "values.len": "3",
        "values.0": "1.5",
        "values.1": "2.0",
        "values.2": "3.0",
        "pair.0": "4",
        "pair.1": "x",
        "table.len": "2",
        "table.0.0": "a",
        "table.0.1": "1",
        "table.1.0": "b",
        "table.1.1": "2",
        "maybe.0": "5",
    }
    del parameters.values[0]
    assert node.GetParameter("values.len") == "2" and not node.HasParameter("values.2")
    parameters.maybe = None
    assert not node.HasParameter("maybe.0") and node.GetParameter("maybe.1") == "True"
    assert parameters.table == {"a": 1, "b": 2} and parameters.values == [2.0, 3.0]


def test_node_reference(node, slicer_scene):
    import slicer

    parameters = make(node, volume=slicer.vtkMRMLScalarVolumeNode)
    assert parameters.volume is None and node.GetParameter("volume") == ""
    volume = slicer_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    parameters.volume = volume
    assert node.GetNodeReferenceID("volume") == volume.GetID()
    assert parameters.volume is volume
    with pytest.raises(TypeError):
        parameters.volume = slicer_scene.AddNewNodeByClass("vtkMRMLModelNode")
    assert parameters.volume is volume
    slicer_scene.RemoveNode(volume)
    assert parameters.volume is None


def test_any(node):
    parameters = make(node, value=Any)
    assert parameters.value is None
    parameters.value = 2.5
    assert (node.GetParameter("value.type.0"), node.GetParameter("value.type.1")) == (
        "builtins",
        "float",
    )
    assert parameters.value == 2.5


def test_validators_refuse_and_the_old_value_stays(node):
    from slicer.parameterNodeWrapper import Choice, Exclude, Maximum, Minimum, WithinRange

    parameters = make(
        node,
        samples=Annotated[int, WithinRange(0, 10)],
        positive=Annotated[float, Minimum(0)],
        small=Annotated[float, Maximum(1)],
        device=Annotated[str, Choice(["", "cpu"])],
        name=Annotated[str, Exclude(["no"])],
        values=list[Annotated[int, Minimum(0)]],
    )
    parameters.values = [1, 2]
    for name, wrong in {
        "samples": 11, "positive": -1.0, "small": 2.0, "device": "gpu", "name": "no",
        "values": [3, -1],
    }.items():  # fmt: skip
        with pytest.raises(ValueError):
            setattr(parameters, name, wrong)
    with pytest.raises(TypeError):
        parameters.samples = "x"
    with pytest.raises(ValueError):
        parameters.samples = None
    assert (parameters.samples, parameters.device, parameters.values) == (0, "", [1, 2])


def test_pack(node):
    from slicer.parameterNodeWrapper import (
        FloatRange,
        WithinRange,
        isParameterPack,
        nestedParameterNames,
        parameterPack,
    )

    @parameterPack
    class Inner:
        weights: list[int] = [1]

    @parameterPack
    class Settings:
        samples: Annotated[int, WithinRange(1, 20)] = 10
        window: FloatRange = FloatRange(-150, 350)
        inner: Inner

    parameters = make(node, settings=Settings)
    assert isParameterPack(Settings) and parameters.settings == Settings()
    assert nestedParameterNames(Settings) == [
        "samples", "window._minimum", "window._maximum", "inner.weights",
    ]  # fmt: skip
    parameters.settings.samples = 12
    parameters.settings.inner.weights.append(2)
    parameters.settings.window = FloatRange(0, 80)
    assert stored(node) == {
        "settings.samples": "12",
        "settings.window._minimum": "0",
        "settings.window._maximum": "80",
        "settings.inner.weights.len": "2",
        "settings.inner.weights.0": "1",
        "settings.inner.weights.1": "2",
    }
    assert parameters.getValue("settings.samples") == 12
    parameters.setValue("settings.samples", 13)
    assert node.GetParameter("settings.samples") == "13"
    assert parameters.dataType("settings.window") is FloatRange
    with pytest.raises(ValueError):
        parameters.settings.samples = 21
    with pytest.raises(AttributeError):
        parameters.settings.nosuch = 1
    with pytest.raises(ValueError):
        FloatRange(2, 1)


def test_wrong_names_are_told(node):
    parameters = make(node, samples=int)
    with pytest.raises(ValueError, match="nosuch"):
        parameters.getValue("nosuch")
    with pytest.raises(ValueError, match="reserved"):
        make(node, getValue=int)
    with pytest.raises(TypeError, match="serializer"):
        make(node, thing=object)


def test_changes_from_elsewhere_are_seen(node):
    parameters = make(node, samples=int)
    node.SetParameter("samples", "4")
    assert parameters.samples == 4
    assert parameters.isCached("samples")


def test_observers_go_with_the_wrapper(node):
    import gc

    parameters = make(node, samples=int)
    del parameters
    gc.collect()
    assert not node.HasObserver("ModifiedEvent")


def test_scene_file_keeps_the_parameters(node, slicer_scene, tmp_path):
    import slicer

    node.SetName("Parameters")
    parameters = make(node, samples=int, volume=slicer.vtkMRMLScalarVolumeNode, values=list[int])
    parameters.samples = 6
    parameters.values = [7, 8]
    volume = slicer_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    parameters.volume = volume
    scene_file = str(tmp_path / "scene.mrml")
    assert slicer.util.saveScene(scene_file)
    slicer_scene.Clear(False)
    slicer.util.loadScene(scene_file)
    loaded = make(
        slicer.util.getNode("Parameters"),
        samples=int,
        volume=slicer.vtkMRMLScalarVolumeNode,
        values=list[int],
    )
    assert (loaded.samples, loaded.values, loaded.volume.GetName()) == (6, [7, 8], "CT")


def test_widgets_of_all_kinds(node, tmp_path):
    import ctk
    import qt
    from slicer.parameterNodeWrapper import (
        Choice,
        Decimals,
        FloatRange,
        RangeBounds,
        SingleStep,
        WithinRange,
    )

    parameters = make(
        node,
        text=str,
        plain=str,
        scale=Annotated[float, WithinRange(0, 2), Decimals(1), SingleStep(0.1)],
        slider=Annotated[float, WithinRange(0, 10)],
        choice=Annotated[int, Choice([0, 5, 7])],
        device=Device,
        toggled=bool,
        path=pathlib.Path,
        range=Annotated[FloatRange, RangeBounds(0, 10)],
    )
    widgets = {
        "text": qt.QLineEdit(),
        "plain": qt.QTextEdit(),
        "scale": qt.QDoubleSpinBox(),
        "slider": ctk.ctkSliderWidget(),
        "choice": qt.QComboBox(),
        "device": qt.QComboBox(),
        "toggled": qt.QPushButton(),
        "path": ctk.ctkPathLineEdit(),
        "range": ctk.ctkRangeWidget(),
    }
    tag = parameters.connectParametersToGui(widgets)
    assert (widgets["scale"].maximum, widgets["scale"].singleStep) == (2, 0.1)
    widgets["text"].text = "a"
    widgets["plain"].setPlainText("b")
    widgets["scale"].value = 1.5
    widgets["slider"].value = 4
    widgets["choice"].currentIndex = 2
    widgets["device"].currentIndex = 1
    widgets["toggled"].checked = True
    widgets["range"].setValues(2, 3)
    assert (parameters.text, parameters.plain, parameters.scale) == ("a", "b", 1.5)
    assert (parameters.slider, parameters.choice, parameters.device) == (4, 7, Device.CPU)
    assert parameters.toggled is True
    assert parameters.range == FloatRange(2, 3)
    parameters.path = tmp_path
    assert widgets["path"].currentPath == str(tmp_path)
    parameters.disconnectGui(tag)
    widgets["text"].text = "c"
    assert parameters.text == "a"


def test_widget_that_cannot_show_the_type_is_told(node):
    import qt

    parameters = make(node, samples=int)
    with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
        parameters.connectParametersToGui({"samples": qt.QLineEdit()})
    with pytest.raises(RuntimeError, match="bounds"):
        parameters.connectParametersToGui({"samples": qt.QSlider()})
