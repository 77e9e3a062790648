# SPDX-License-Identifier: Apache-2.0
"""The models that come with the program, and the real anatomies that one of them learned from."""

import numpy as np
import pytest
import SimpleITK as sitk

from LandmarkPretrainLib.detection import detect
from LandmarkPretrainLib.engines import REGISTRY, load_model, model_of
from LandmarkPretrainLib.preparation import prepared
from LandmarkPretrainLib.real_anatomies import simulate_from_map
from LandmarkPretrainLib.recipes import MODERN
from ReadingRoomLib.models import available_models
from ReadingRoomLib.phantoms.trunk import LANDMARKS, PUBLISHED_COUNTS, TrunkSettings, simulate_trunk


@pytest.fixture(scope="module")
def trunk():
    return simulate_trunk((901, 1), TrunkSettings(spacing=(3.0, 3.0, 3.0)))


def test_both_starters_come_with_the_program_and_say_that_they_learned_from_simulated_images():
    models = {model.name: model for model in available_models(REGISTRY)
              if model.built_in}
    assert set(models) == {"starter", "starter-seed"}
    for name, model in models.items():
        assert model.simulated and model.size < 10 * 2**20
        bundle = load_model(name)
        assert "no real" in bundle.model_card.lower()
        assert len(model_of(bundle).names) >= 60


def test_the_published_recipe_has_as_many_landmarks_as_published():
    names = model_of(load_model("starter-seed")).names
    assert len(names) == PUBLISHED_COUNTS[1] and set(names) <= set(LANDMARKS)


def test_the_starter_finds_the_landmarks_of_a_new_patient(trunk):
    model = model_of(load_model("starter"))
    assert model.recipe.name == MODERN
    found = detect(prepared(trunk.image, "CT", model.recipe.fine_mm), model.names,
                   model.detector("cpu"), model.shape, model.confidence)
    truth = np.array([trunk.landmarks.get(name, (np.nan,) * 3) for name in model.names])
    errors = np.linalg.norm(found.points - truth, axis=1)
    both = np.isfinite(errors)
    assert both.sum() > 0.85 * np.isfinite(truth).all(1).sum()
    assert np.median(errors[both]) < 6
    sure = found.confidence >= 0.8
    assert np.mean(errors[both & sure] < 10) >= 0.8


def test_a_real_map_gives_a_ct_with_landmarks_in_it(trunk):
    labels = sitk.Cast(trunk.labels, sitk.sitkUInt8)
    image, landmarks = simulate_from_map(labels, trunk.label_names, (5, 1))
    again, same = simulate_from_map(labels, trunk.label_names, (5, 1))
    other, _ = simulate_from_map(labels, trunk.label_names, (5, 2))
    assert sitk.Hash(image) == sitk.Hash(again) != sitk.Hash(other)
    assert np.array_equal(landmarks.points, same.points)
    assert len(landmarks) >= 25 and set(landmarks.names) <= set(LANDMARKS)
    for point in landmarks.points:
        index = image.TransformPhysicalPointToContinuousIndex(point.tolist())
        assert all(-1 <= i <= n for i, n in zip(index, image.GetSize(), strict=True))
    # it is another body, whose landmarks lie elsewhere, but where the same organs are
    apart = [np.linalg.norm(point - np.array(trunk.landmarks[name]))
             for name, point in zip(landmarks.names, landmarks.points, strict=True)]
    assert 2 < np.median(apart) < 60
