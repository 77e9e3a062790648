# SPDX-License-Identifier: Apache-2.0
"""Files of named points: every format read back as it was written, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from LandmarkPretrainLib import landmark_files
from LandmarkPretrainLib.landmark_files import (
    Landmarks,
    key_of,
    read_landmarks,
    read_points,
    write_csv,
    write_markups,
)
from ReadingRoomLib.errors import BadInput

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
MOUSE = DATA / "landmarks_mouse_skull_microct" / "A_J.mrk.json"
AFIDS = DATA / "landmarks_afids_mni2009c" / "tpl-MNI152NLin2009cAsym_res-01_T1w.fcsv"

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
names = st.lists(words.filter(lambda text: key_of(" ".join(text.split()))), min_size=1, max_size=8,
                 unique_by=lambda text: key_of(" ".join(text.split())))
millimetres = st.floats(-99_999, 99_999, allow_nan=False)


@st.composite
def landmark_sets(draw):
    chosen = draw(names)
    points = draw(st.lists(st.tuples(*[millimetres] * 3), min_size=len(chosen),
                           max_size=len(chosen)))
    confidence = draw(st.none() | st.lists(st.floats(0, 1), min_size=len(chosen),
                                           max_size=len(chosen)))
    return Landmarks(tuple(chosen), np.array(points), confidence)


@pytest.mark.parametrize("ending, write", [("x.mrk.json", write_markups), ("x.csv", write_csv)])
def test_what_is_written_is_read_back(ending, write, tmp_path):
    @settings(max_examples=150, deadline=None)
    @given(landmark_sets())
    def check(landmarks):
        write(tmp_path / ending, landmarks)
        back = read_landmarks(tmp_path / ending)
        assert back.names == landmarks.names
        assert np.array_equal(back.points, landmarks.points)
        if landmarks.confidence is not None:
            assert np.allclose(back.confidence, landmarks.confidence, atol=6e-5)
        else:
            assert back.confidence is None or "confidence" in str(landmarks.descriptions)

    check()


def written(tmp_path, content, name="points.json"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def markup(*points, **more):
    return {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": [
        {"label": label, "position": position, "positionStatus": "defined"}
        for label, position in points]} | more


def test_several_lists_of_both_coordinate_systems_are_joined(tmp_path):
    path = written(tmp_path, {"markups": [
        markup(("a", [1, 2, 3])), markup(("b", [1, 2, 3]), coordinateSystem="RAS"),
        markup(("c", [9, 9, 9]), type="Curve")]})
    landmarks = read_landmarks(path)
    assert landmarks.names == ("a", "b")
    assert landmarks.points.tolist() == [[1, 2, 3], [-1, -2, 3]]


def test_points_without_a_position_are_left_out(tmp_path):
    content = {"markups": [markup(("a", [1, 2, 3]), ("b", ""))]}
    content["markups"][0]["controlPoints"][1]["positionStatus"] = "undefined"
    assert read_landmarks(written(tmp_path, content)).names == ("a",)


@pytest.mark.parametrize("system, sign", [("0", -1), ("RAS", -1), ("1", 1), ("LPS", 1)])
def test_fcsv_of_all_versions(system, sign, tmp_path):
    path = written(tmp_path, "\n".join([
        "# Markups fiducial file version = 5.6", f"# CoordinateSystem = {system}",
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID",
        '1,1,2,3,0,0,0,1,1,1,0,"a, ""b""",,,2,0',
        "2,4,5,6,0,0,0,1,1,1,0,undefined,,,0,0",
        "3,7,8,9,0,0,0,1,1,1,0,c,seen,vtkMRMLScalarVolumeNode1"]), "points.fcsv")
    landmarks = read_landmarks(path)
    assert landmarks.names == ('a, "b"', "c")
    assert landmarks.points.tolist() == [[sign, 2 * sign, 3], [7 * sign, 8 * sign, 9]]


def test_numbers_give_way_to_described_names_but_not_to_facts(tmp_path):
    def labelled(*descriptions):
        content = {"markups": [markup(*[(str(i), [i, 0, 0]) for i in range(len(descriptions))])]}
        for point, text in zip(content["markups"][0]["controlPoints"], descriptions, strict=True):
            point["description"] = text
        return read_landmarks(written(tmp_path, content)).names

    assert labelled("AC", "PC") == ("AC", "PC")
    assert labelled("AC", "") == ("0", "1")
    assert labelled("AC", "AC") == ("0", "1")
    assert labelled("confidence 0.7", "confidence 0.8") == ("0", "1")
    assert labelled("diameter_mm=3", "diameter_mm=4") == ("0", "1")


@pytest.mark.parametrize("text, expected", [
    ("name,x,y,z\na,1,2,3\n", [1, 2, 3]),
    ("# CoordinateSystem = RAS\nname,x,y,z\na,1,2,3\n", [-1, -2, 3]),
    ("label,r,a,s,defined,description\na,1,2,3,1,\nb,0,0,0,0,\n", [-1, -2, 3]),
    ("Label;L;P;S\na;1,5;2;3\n", [1.5, 2, 3]),
    ("name\tx\ty\tz\tcoordinateSystem\na\t1\t2\t3\tRAS\n", [-1, -2, 3]),
    ("\ufeffname,x,y,z\na,1,2,3\n", [1, 2, 3]),
])
def test_tables_of_many_makes(text, expected, tmp_path):
    landmarks = read_landmarks(written(tmp_path, text, "points.csv"))
    assert landmarks.names == ("a",) and landmarks.points.tolist() == [expected]


def test_plain_json(tmp_path):
    path = written(tmp_path, {"coordinateSystem": "RAS", "carina": [1, 2, 3]})
    assert read_landmarks(path).points.tolist() == [[-1, -2, 3]]


@pytest.mark.parametrize("name, content, said", [
    ("a.json", "{", "no valid JSON"),
    ("a.json", "[1]", "holds no landmarks"),
    ("a.json", {"a": [1, 2]}, "three numbers in mm"),
    ("a.json", {"a": [1, 2, True]}, "three numbers in mm"),
    ("a.json", {"a": "123"}, "three numbers in mm"),
    ("a.json", '{"a": [1, NaN, 2]}', '"a" in a.json has no valid position'),
    ("a.json", '{"a": [1, 1e999, 2]}', "no valid position"),
    ("a.json", {"a": [1, 2, 3], "A ": [2, 3, 4]}, 'two points named "a"'),
    ("a.json", {"markups": []}, "no point with a position"),
    ("a.json", {"markups": [{"type": "Curve"}]}, "no list of points but Curve"),
    ("a.json", {"markups": [markup(("", [1, 2, 3]))]}, "Point 1 in a.json has no name"),
    ("a.json", {"markups": [markup(("a", [1, 2, 3]), coordinateSystem="IJK")]}, '"IJK"'),
    ("a.json", {"markups": [markup(("a", [1, 2, 3]), coordinateUnits="um")]}, "millimetres"),
    ("a.json", {"markups": [markup(controlPoints=[3])]}, "damaged"),
    ("a.json", {"markups": 3}, "damaged"),
    ("a.fcsv", "# CoordinateSystem = 2\n1,1,1,1\n", '"2"'),
    ("a.fcsv", "# columns = a,b\n1,1\n", "damaged"),
    ("a.fcsv", "1,x,1,1,0,0,0,1,1,1,0,a,,\n", "Point 1 in a.fcsv has no valid"),
    ("a.csv", "", "lacks columns"),
    ("a.csv", "name,x,y\na,1,2\n", "lacks columns"),
    ("a.csv", "name,x,y,z\n", "no point"),
    ("a.csv", "name,x,y,z\na,1,2\n", "Line 2 of the table in a.csv has no valid"),
    ("a.csv", "# CoordinateSystem = RAS\nname,l,p,s\na,1,2,3\n", "both LPS and RAS"),
    ("a.csv", "name,l,p,s,r,a\na,1,2,3,4,5\n", "both LPS and RAS"),
    ("a.xml", "<a/>", "no file of points"),
])
def test_what_is_wrong_is_said_in_one_sentence(name, content, said, tmp_path):
    with pytest.raises(BadInput, match=re.escape(said)) as refused:
        read_landmarks(written(tmp_path, content, name))
    message = refused.value.message
    assert "\n" not in message and message.endswith(".") and name in message


def test_files_that_cannot_be_read_are_refused(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="none.csv cannot be found"):
        read_landmarks(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="cannot be read as text"):
        read_landmarks(tmp_path / "bad.csv")
    monkeypatch.setattr(landmark_files, "MAX_BYTES", 10)
    with pytest.raises(BadInput, match="larger than"):
        read_landmarks(written(tmp_path, {"a": [1, 2, 3]}))


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8")),
       st.sampled_from(["x.json", "x.fcsv", "x.csv"]))
@settings(max_examples=200, deadline=None)
def test_whatever_a_file_holds_nothing_else_is_raised(tmp_path_factory, content, name):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    try:
        landmarks = read_points(path)
    except BadInput as error:
        assert error.message.endswith(".")
    else:
        assert np.isfinite(landmarks.points).all()


def test_lesions_may_be_none_and_alike(tmp_path):
    assert len(read_points(written(tmp_path, {"markups": []}))) == 0
    content = {"markups": [markup(("L", [1, 2, 3]), ("L", [4, 5, 6]))]}
    content["markups"][0]["controlPoints"][0]["description"] = "diameter_mm=4.5"
    points = read_points(written(tmp_path, content))
    assert points.names == ("L", "L") and points.descriptions == ("diameter_mm=4.5", "")


def test_uncertain_points_can_be_moved_and_certain_ones_not(tmp_path):
    landmarks = Landmarks(("sure", "unsure"), np.zeros((2, 3)), [0.9, 0.2])
    write_markups(tmp_path / "x.mrk.json", landmarks)
    points = json.loads((tmp_path / "x.mrk.json").read_text())["markups"][0]["controlPoints"]
    assert [(p["locked"], p["selected"], p["visibility"]) for p in points] == [
        (True, True, True), (False, False, True)]
    assert points[1]["description"] == "confidence 0.2000"


def test_chosen_points_keep_what_belongs_to_them():
    landmarks = Landmarks(("a", "b", "c"), np.arange(9).reshape(3, 3), [0.1, 0.2, 0.3],
                          ("x", "y", "z"))
    some = landmarks.chosen([2, 0])
    assert some.names == ("c", "a") and some.descriptions == ("z", "x")
    assert some.points[0].tolist() == [6, 7, 8] and some.confidence.tolist() == [0.3, 0.1]


@pytest.mark.skipif(not MOUSE.exists(), reason="the shared data are not here")
def test_real_files():
    mouse = read_landmarks(MOUSE)
    assert len(mouse) == 45 and mouse.names[:2] == ("1", "2")
    assert mouse.points[0].tolist() == [18.4718, 11.5644, 17.3914]
    afids = read_landmarks(AFIDS)
    assert len(afids) == 32 and afids.names[:2] == ("AC", "PC")
    assert afids.points[1] == pytest.approx([0.24125, 25.07475, -2.169])  # PC lies behind AC
