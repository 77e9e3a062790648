# SPDX-License-Identifier: Apache-2.0
"""Radiomic features against the IBSI's reference values, and what bias-field correction does."""

from __future__ import annotations

import csv
import json
import math
from xml.etree import ElementTree

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from BrainTumorClassifyLib import radiomics_report as report
from BrainTumorClassifyLib.__main__ import app
from BrainTumorClassifyLib.agreement import within_subject_variation
from BrainTumorClassifyLib.preparation import brain_mask, head_mask
from BrainTumorClassifyLib.radiomics import (
    ARMS,
    CLASSES,
    FULL_SCALE,
    LEAST_VOXELS,
    Recipe,
    both_arms,
    class_of,
    normalised,
    shape_of_tumour,
    texture_of_tumour,
    tumour_mask,
)
from BrainTumorClassifyLib.radiomics_study import (
    LEAST_PATIENTS,
    paired_cases,
    read_cases,
    stability_of,
    summary_of,
)
from ReadingRoomLib.errors import BadInput

from .tumor_factory import ENHANCING, NECROSIS, anatomy, scan

pytest.importorskip("mirp")

# IBSI reference manual, section 5.1: the digital phantom, (z, y, x), voxels of 2 mm
PHANTOM = [
    [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
    [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [1, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
    [[1, 4, 4, 1, 1], [1, 1, 1, 1, 1], [1, 1, 9, 1, 1], [1, 1, 6, 1, 1]],
    [[1, 4, 4, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]]]
OUTSIDE = [(1, 2, 0), (2, 0, 3), (2, 0, 4), (2, 2, 2), (3, 0, 3), (3, 0, 4)]
# its chapter 3: value and tolerance; matrices in three dimensions, of all directions merged
SHAPE = {
    "morph_volume": (556, 4), "morph_vol_approx": (592, 4), "morph_area_mesh": (388, 3),
    "morph_av": (0.698, 0.004), "morph_sphericity": (0.843, 0.005), "morph_diam": (13.1, 0.1),
    "morph_pca_maj_axis": (11.4, 0.1), "morph_pca_min_axis": (9.31, 0.06),
    "morph_pca_elongation": (0.816, 0.005), "morph_pca_flatness": (0.749, 0.005)}
# without a tolerance: three digits
VALUES = {
    "stat_mean": 2.15, "stat_var": 3.05, "stat_skew": 1.08, "stat_kurt": -0.355, "stat_median": 1,
    "stat_p90": 4, "stat_max": 6, "stat_iqr": 3, "stat_mad": 1.55, "stat_cov": 0.812,
    "stat_energy": 567, "cm_joint_max": 0.509, "cm_joint_entr": 2.57, "cm_contrast": 5.12,
    "cm_clust_prom": 147, "cm_info_corr1": -0.0288, "rlm_sre": 0.729, "rlm_rlnu": 328,
    "rlm_r_perc": 0.68, "rlm_rl_entr": 2.62, "szm_sze": 0.255, "szm_lze": 550,
    "szm_z_perc": 0.0676, "szm_zs_var": 331, "dzm_sde": 1, "dzm_zd_entr": 1.92,
    "ngt_coarseness": 0.0296, "ngt_contrast": 0.584, "ngt_busyness": 6.54,
    "ngt_complexity": 13.5, "ngt_strength": 0.763, "ngl_hde": 109, "ngl_dc_energy": 0.0533}
COARSE = Recipe(spacing_mm=3.0, bins=16)


def phantom():
    inside = np.ones(np.shape(PHANTOM), np.uint8)
    inside[tuple(np.transpose(OUTSIDE))] = 0
    images = [sitk.GetImageFromArray(np.array(each)) for each in (np.float32(PHANTOM), inside)]
    for image in images:
        image.SetSpacing([2.0] * 3)
    return images


@pytest.fixture(scope="module")
def tumour():
    """Solid tumour of the toy head, on its own grid."""
    label = anatomy()
    return (label == ENHANCING) + (label == NECROSIS)


def toy(bias=0.0, seed=0):
    return scan("t1c", spacing=(3.0, 3.0, 5.0), bias=bias, seed=seed)


# --- features ------------------------------------------------------------------------------------


def test_shape_is_that_of_the_ibsi_phantom():
    found = shape_of_tumour(phantom()[1], Recipe(0.0, 6))
    for name, (value, tolerance) in SHAPE.items():
        assert found[name] == pytest.approx(value, abs=tolerance), name


def test_textures_are_those_of_the_ibsi_phantom():
    found = texture_of_tumour(*phantom(), Recipe(0.0, 6))
    assert {name: float(f"{found[name]:.3g}") for name in VALUES} == VALUES
    assert {class_of(name) for name in VALUES} | {"shape"} == set(CLASSES.values())


def test_features_do_not_depend_on_what_lies_around_the_tumour(tumour):
    image, other = toy(), sitk.Cast(toy(), sitk.sitkFloat32)
    mask = tumour_mask(tumour, image)
    where = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0)
    other[0:2, 0:2, 0:2] = 1e4
    assert where.min() > 5  # so that resampling does not reach it
    first, second = (texture_of_tumour(each, mask, COARSE) for each in (image, other))
    assert first == pytest.approx(second, rel=1e-5)


def test_nothing_is_printed_and_the_log_is_left_alone(capfd):
    import logging

    before = logging.getLogger().handlers[:], logging.getLogger().level
    texture_of_tumour(*phantom(), Recipe(0.0, 6))
    shape_of_tumour(phantom()[1], Recipe(0.0, 6))
    assert capfd.readouterr() == ("", "")
    assert (logging.getLogger().handlers, logging.getLogger().level) == before


def test_the_mask_is_brought_onto_the_image(tumour):
    image = toy()
    mask = tumour_mask(tumour, image)
    assert mask.GetSize() == image.GetSize() and mask.GetPixelID() == sitk.sitkUInt8
    volumes = [sitk.GetArrayViewFromImage(each).sum() * np.prod(each.GetSpacing())
               for each in (tumour, mask)]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.05)
    label = anatomy()
    solid = tumour_mask(label, label, (ENHANCING, NECROSIS))
    assert (sitk.GetArrayViewFromImage(solid) == sitk.GetArrayViewFromImage(tumour)).all()
    with pytest.raises(BadInput, match="marks no voxel with the label 77"):
        tumour_mask(label, label, (77,))
    elsewhere = sitk.Image(tumour)
    elsewhere.SetOrigin((500.0, 0.0, 0.0))
    with pytest.raises(BadInput, match="does not lie on its image"):
        tumour_mask(elsewhere, image)


def test_grey_values_are_on_the_scale_of_the_brain():
    image = toy()
    brain = sitk.Cast(image > 300, sitk.sitkUInt8)
    values = sitk.GetArrayFromImage(normalised(image, brain))
    inside = values[sitk.GetArrayViewFromImage(brain) > 0]
    assert np.percentile(inside, [0.5, 99.8]) == pytest.approx([0, FULL_SCALE], abs=0.1)
    again = sitk.GetArrayFromImage(normalised(3 * sitk.Cast(image, sitk.sitkFloat32) + 7, brain))
    assert again == pytest.approx(values, abs=0.05)


def test_a_tumour_without_texture_is_refused():
    image = toy()
    mask = sitk.Cast(image * 0, sitk.sitkUInt8)
    mask[30:32, 30:32, 10:12] = 1  # 8 voxels of 3 x 3 x 5 mm
    voxels = 8 * 45
    spacing = (voxels / (LEAST_VOXELS - 1)) ** (1 / 3)
    with pytest.raises(BadInput, match="only 63 voxels of"):
        both_arms(image, mask, "t1c", Recipe(spacing))


def test_correction_brings_back_what_a_bias_field_changed():
    """The toy head is darker at the back, where the mask lies."""
    even, uneven = toy(), toy(bias=0.4)
    mask = sitk.Cast(even * 0, sitk.sitkUInt8)
    middle = even.TransformPhysicalPointToIndex((25.0, 50.0, 18.0))
    mask[tuple(slice(place - 4, place + 4) for place in middle)] = 1
    brain = brain_mask({"t1c": even}, head_mask(even))
    true = texture_of_tumour(normalised(even, brain), mask, COARSE)
    found = both_arms(uneven, mask, "t1c", COARSE)
    for name in ("stat_mean", "stat_median", "stat_p90"):
        without, corrected = (abs(found[arm][name] - true[name]) for arm in ARMS)
        assert corrected < without / 2 and without > 0.05 * true[name], name
    shape = shape_of_tumour(mask, COARSE)
    assert all(found[arm] | shape == found[arm] for arm in ARMS)
    assert all(math.isfinite(value) for arm in ARMS for value in found[arm].values())


# --- statistics ----------------------------------------------------------------------------------


def made_up(patients=40, seed=0):
    """Features of known truth, by patient."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(patients):
        clear, narrow, centred = random.normal([100, 100, 0], [25, 1, 1])
        error = random.normal(0, 2, (2, 2))
        found.append(("t1c", {
            arm: {"stat_mean": clear + error[0, number], "cm_contrast": narrow + error[1, number],
                  "stat_skew": centred + 0.01 * number, "morph_volume": clear,
                  "szm_lze": clear * (1 + 1.5 * number)}
            for number, arm in enumerate(ARMS)}))
    return found


def test_a_small_variation_hides_that_patients_change_places():
    rows = {row.feature: row for row in stability_of(made_up())}
    clear, narrow = rows["stat_mean"], rows["cm_contrast"]
    # standard deviation 2 within patients, of a mean of 100
    assert clear.variation == pytest.approx(0.02, abs=0.006)
    assert narrow.variation == pytest.approx(0.02, abs=0.006)
    # variances between patients 625 and 1, within 4
    assert clear.icc.value == pytest.approx(625 / 629, abs=0.01)
    assert narrow.icc.value == pytest.approx(1 / 5, abs=0.25)
    assert narrow.icc.low <= 1 / 5 <= narrow.icc.high < 0.75
    assert clear.concordance.value == pytest.approx(clear.icc.value, abs=0.01)
    assert math.isnan(rows["stat_skew"].variation) and rows["stat_skew"].icc.value > 0.99
    assert rows["morph_volume"].unchanged and rows["morph_volume"].variation == 0
    # x and 2.5 x: deviation 1.5 x / sqrt(2), mean 1.75 x
    assert rows["szm_lze"].variation == pytest.approx(1.5 / math.sqrt(2) / 1.75)
    assert rows["szm_lze"].kind == "GLSZM"
    assert summary_of(list(rows.values())) == {
        "features": 5, "unchanged": 1, "changed": 4, "no_variation": 1, "small_variation": 2,
        "small_but_poor": 1, "small_but_perhaps_poor": 1}


def test_few_patients_give_no_correlation():
    rows = stability_of(made_up(LEAST_PATIENTS - 1))
    assert all(math.isnan(row.icc.value) and math.isnan(row.concordance.value) for row in rows)
    summary = summary_of(rows)
    assert summary["small_but_poor"] is None and summary["small_variation"] == 2
    assert json.loads(json.dumps(summary)) == summary
    assert not math.isnan(stability_of(made_up(LEAST_PATIENTS))[0].icc.value)


@given(st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=LEAST_PATIENTS,
                max_size=15), st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_what_is_said_does_not_depend_on_the_unit(pairs, unit):
    def of(scale):
        return stability_of([("t1", {arm: {"stat_mean": scale * value} for arm, value in
                                     zip(ARMS, pair, strict=True)}) for pair in pairs])[0]

    first, second = of(1.0), of(unit)
    if np.ptp(pairs) < 1e-3:
        return
    assert second.variation == pytest.approx(first.variation, rel=1e-6, abs=1e-9)
    assert second.icc.value == pytest.approx(first.icc.value, abs=1e-6, nan_ok=True)
    if not first.unchanged:
        assert first.variation == pytest.approx(within_subject_variation(np.array(pairs)))


def test_patients_without_a_value_are_left_out():
    found = made_up(12)
    found[3][1]["with"]["cm_contrast"] = math.nan
    rows = {row.feature: row for row in stability_of(found)}
    assert rows["cm_contrast"].patients == 11 and rows["stat_mean"].patients == 12
    assert rows["cm_contrast"].icc.n == 11


# --- lists ---------------------------------------------------------------------------------------


def write_list(folder, *entries, part="training"):
    path = folder / "list.json"
    path.write_text(json.dumps({part: list(entries)}), "utf-8")
    for name in ("a.nrrd", "b.nrrd", "m.nrrd"):
        (folder / name).touch()
    return path


GOOD = {"image": "a.nrrd", "label": "m.nrrd", "patient": 1, "sequence": "T1C"}


def test_a_list_is_read(tmp_path):
    path = write_list(tmp_path, GOOD, {**GOOD, "image": "b.nrrd", "sequence": "t2"})
    cases = read_cases(path)
    assert [(case.image.name, case.mask.name, case.patient, case.sequence) for case in cases] == [
        ("a.nrrd", "m.nrrd", "1", "t1c"), ("b.nrrd", "m.nrrd", "1", "t2")]
    assert [case.sequence for case in read_cases(path, ("t2",))] == ["t2"]
    with pytest.raises(BadInput, match="no image of t1"):
        read_cases(path, ("t1",))


@pytest.mark.parametrize("entries, said", [
    ([], "names no image"), (["a.nrrd"], "item 1 of training"),
    ([{**GOOD, "patient": " "}], '"patient" is missing'),
    ([{**GOOD, "sequence": "flair"}], 'its sequence is "flair"'),
    ([{**GOOD, "label": "none.nrrd"}], "none.nrrd"),
    ([GOOD, {**GOOD, "image": "b.nrrd"}], "two images of one patient in t1c")])
def test_a_wrong_list_is_refused(tmp_path, entries, said):
    with pytest.raises(BadInput, match=said):
        read_cases(write_list(tmp_path, *entries))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from(["training", "image", "label"]), inner,
                                      max_size=3), max_leaves=8))
@settings(max_examples=60, deadline=None)
def test_whatever_a_list_holds_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("list") / "list.json"
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(BadInput):
        read_cases(path)


def test_images_named_one_by_one_belong_to_patients_in_turn(tmp_path):
    write_list(tmp_path)
    a, b, m = (tmp_path / name for name in ("a.nrrd", "b.nrrd", "m.nrrd"))
    assert [case.patient for case in paired_cases([a, b], [m, m], ["t1c"])] == ["1", "2"]
    assert [case.patient for case in paired_cases([a, b], [m, m], ["t1", "t2"])] == ["1", "1"]
    with pytest.raises(BadInput, match="2 images and 1 masks"):
        paired_cases([a, b], [m], ["t1"])
    with pytest.raises(BadInput, match="3 sequences"):
        paired_cases([a, b], [m, m], ["t1", "t2", "t1c"])


# --- report and command --------------------------------------------------------------------------


def as_xml(page):
    """A page that a browser need not mend."""
    return ElementTree.fromstring(page.removeprefix("<!doctype html>"))


def test_the_report_shows_what_was_found(tmp_path):
    rows = stability_of(made_up())
    summaries = {"t1c": summary_of(rows)}
    files = {"variation": "variation.png", "agreement": "agreement.png"}
    report.draw_variation(rows, tmp_path / "variation.png")
    report.draw_agreement(rows, tmp_path / "agreement.png")
    page = report.page(rows, summaries, COARSE.described(), tmp_path, files, ["Take care & look"])
    text = " ".join(as_xml(page).itertext())
    assert page.count("data:image/png;base64,") == 2 and "Take care & look" in text
    said = report.lines(rows, summaries)[0]
    assert said in text and "2 have a coefficient" in said and "1 of these have an ICC" in said
    few = stability_of(made_up(3))
    page = report.page(few, {"t1c": summary_of(few)}, COARSE.described(), tmp_path,
                       {"variation": "variation.png"}, [])
    assert "too few patients" in " ".join(as_xml(page).itertext())


def test_the_command_writes_what_it_found_and_does_not_compute_it_again(tumour, tmp_path):
    image = toy(bias=0.3)
    sitk.WriteImage(image, str(tmp_path / "image.nrrd"))
    sitk.WriteImage(tumour_mask(tumour, image), str(tmp_path / "mask.nrrd"))
    data, output = write_list(tmp_path, {"image": "image.nrrd", "label": "mask.nrrd",
                                         "patient": "name", "sequence": "t1c"}), tmp_path / "out"
    arguments = ["radiomics", "--data", str(data), "--output", str(output), "--spacing", "3",
                 "--bins", "16", "--progress", "none", "--work", str(tmp_path / "work")]
    assert app.run(arguments) == 0
    known, = (tmp_path / "work").iterdir()
    made, first = known.stat().st_mtime_ns, (output / "values.csv").read_bytes()
    assert app.run([*arguments, "--overwrite"]) == 0
    assert known.stat().st_mtime_ns == made and len(list((tmp_path / "work").iterdir())) == 1
    assert (output / "values.csv").read_bytes() == first
    result = json.loads((output / "result.json").read_text("utf-8"))
    assert result["patients"] == {"t1c": 1} and "agreement" not in result["files"]
    assert result["recipe"]["spacing_mm"] == 3 and result["summary"]["t1c"]["features"] == 134
    assert "name" not in json.dumps(result["patients"]) and result["inputs"][0]["sha256"]
    assert any("at least 10 patients" in warning for warning in result["warnings"])
    with (output / "features.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 134 and {row["class"] for row in table} == set(CLASSES.values())
    assert all(row["ICC(A,1)"] == "" for row in table)
    with (output / "values.csv").open(encoding="utf-8") as file:
        values = {row["feature"]: row for row in csv.DictReader(file)}
    pair = [float(values["stat_mean"][f"{arm} N4"]) for arm in ARMS]
    mean = next(row for row in table if row["feature"] == "stat_mean")
    assert float(mean["coefficient of variation"]) == pytest.approx(
        within_subject_variation(np.array([pair])), rel=1e-4)
    as_xml((output / "report.html").read_text("utf-8"))


def test_neither_or_both_ways_of_naming_images_is_said_at_once(tmp_path, capsys):
    for given_too in ([], ["--data", "a.json", "--image", "a.nrrd"],
                      ["--image", "a.nrrd", "--mask", "m.nrrd"],
                      ["--image", "a.nrrd", "--sequence", "flair"]):
        assert app.run(["radiomics", *given_too, "--output", str(tmp_path / "out")]) == 2
        assert "name" in capsys.readouterr().err.lower()
