# SPDX-License-Identifier: Apache-2.0
"""All landmarks of an image at once: candidates everywhere, the set that a body can have, a closer
look, and how sure each one is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from scipy.special import logit

from .alignment import agreeing
from .confidence import Confidence
from .detectors import COARSE_SHARE, WIDENED, CoarseMap, FieldDetector, Guess, PatchDetector
from .patches import UNTURNED, PatchExtractor
from .sampling import known
from .shape_model import ShapeModel

CANDIDATES = 6  # places of each landmark that are weighed against each other
TURNS = 4  # of choosing and laying the shape on
FAR = 5.0  # standard deviations: no body has a landmark there
LEAST_NAME = 0.02  # chance: what is there is not this landmark
FEWEST = 3  # landmarks that make a set
LEAST_FOUND = 0.5  # of the landmarks that should be in the image
BEYOND = 1.0  # steps of the coarse map: a landmark may lie so far outside


@dataclass(frozen=True)
class Found:
    """Landmarks of an image.

    Attributes:
        names: of all that the model knows.
        points: (n, 3) LPS mm; NaN where a landmark was not found.
        confidence: (n,) chance that a point is right; 0 where there is none.
        evidence: (n, evidence) what that rests on.
        expected: (n, 3) LPS mm: where the others say that it should be, in the image or not.
        reasons: by name, why a landmark was not found.
    """

    names: tuple[str, ...]
    points: np.ndarray
    confidence: np.ndarray
    evidence: np.ndarray
    expected: np.ndarray
    reasons: dict[str, str]


@dataclass(frozen=True)
class Candidates:
    """Places (n, candidates, 3) in LPS mm with the logarithms of both chances (n, candidates)."""

    points: np.ndarray
    places: np.ndarray
    names: np.ndarray


@dataclass(frozen=True)
class FirstLook:
    """What the whole image shows, before a closer look.

    Attributes:
        points: (n, 3) LPS mm, the best set of candidates.
        names: (n,) logarithm of the chance that what is there is this landmark.
        turn: how the body lies, see :meth:`.shape_model.ShapeModel.turn`; only for detectors that
            use it.
        step_mm: of the coarse map.
        rough_mm: what the shape is told of the points' own error; 0 where bodies lie as usual, and
            differ by more.
    """

    points: np.ndarray
    names: np.ndarray
    turn: np.ndarray
    step_mm: float
    rough_mm: float


def look_first(extractor: PatchExtractor, low: np.ndarray, size_mm: np.ndarray,
               detector: PatchDetector | FieldDetector, shape: ShapeModel,
               advance: Callable[[float], None] = lambda share: None) -> FirstLook:
    """Candidates everywhere, and the set of them that a body can have.

    Args:
        extractor: of the prepared image.
        low, size_mm: (3,) its first voxel in LPS mm, and its extent.
        detector, shape: of the model.
        advance: told the share that is done, 0 to 1.
    """
    coarse = detector.coarse(extractor, low, size_mm, advance)
    candidates = candidates_of(coarse)
    rough_mm = COARSE_SHARE * coarse.step_mm if detector.any_way else 0.0
    chosen = choose(candidates, shape, coarse.step_mm, rough_mm)
    rows = np.arange(len(chosen))
    points, names = candidates.points[rows, chosen], candidates.names[rows, chosen]
    turn = shape.turn(points, np.exp(names / 2), rough_mm) if detector.posed else UNTURNED
    return FirstLook(points, names, turn, coarse.step_mm, rough_mm)


def detect(image: sitk.Image, names: Sequence[str], detector: PatchDetector | FieldDetector,
           shape: ShapeModel, confidence: Confidence | None = None,
           advance: Callable[[float], None] = lambda share: None, believe: bool = False) -> Found:
    """Find the landmarks of an image.

    Args:
        image: prepared, see :func:`.preparation.prepared`.
        names: of the landmarks, as many as the network and the shape have.
        detector: of the model.
        shape: of the model.
        confidence: of the model; None: not calibrated yet, all get 0.5.
        advance: told the share that is done, 0 to 1.
        believe: look closely at all, however impossible: to learn what speaks against them.
    """
    extractor = PatchExtractor(image)
    low = np.array(image.GetOrigin())
    size = np.array(image.GetSize()) * np.array(image.GetSpacing())
    seen = look_first(extractor, low, size, detector, shape, lambda share: advance(0.8 * share))
    points, own = seen.points, seen.names
    reasons = {} if believe else _impossible(seen, shape, low, size, names)
    kept = np.array([name not in reasons for name in names])
    first = np.where(kept[:, None], points, np.nan)
    expected, error = shape.predict(first, np.exp(own), seen.rough_mm)
    close = np.flatnonzero(kept)
    fine = np.full_like(points, np.nan)
    evidence = np.zeros((len(names), 6))
    if len(close):
        guess = Guess(points[close], expected[close], error[close], seen.turn)
        look = detector.closer(extractor, guess, close)
        fine[close] = look.points
        predicted, spread = shape.predict(fine, np.exp(own))
        evidence[close] = evidence_of(own[close], look, points[close], fine[close],
                                      (expected[close], error[close]),
                                      (predicted[close], spread[close]), seen.step_mm)
        expected = predicted
    chance = np.full(len(names), 0.5) if confidence is None else confidence(evidence)
    advance(1.0)
    return Found(tuple(names), fine, np.where(known(fine), chance, 0.0), evidence, expected,
                 reasons)


def candidates_of(coarse: CoarseMap) -> Candidates:
    """The best places of each landmark that are better than those around them."""
    places = coarse.places
    landmarks, shape = len(places), places.shape[1:]
    best = F.max_pool3d(places[None], 3, 1, 1)[0]
    peaks = torch.where(places == best, places, torch.full_like(places, -torch.inf)).flatten(1)
    values, flat = peaks.topk(min(CANDIDATES, peaks.shape[1]), 1)
    at = np.stack(np.unravel_index(flat.numpy(), shape), -1)
    shifts = _offsets(places, flat, shape)
    points = (at[..., ::-1] + shifts) * coarse.step_mm + coarse.origin
    names = coarse.names.flatten(1).gather(1, flat)
    return Candidates(points, values.numpy().astype(float).reshape(landmarks, -1),
                      names.numpy().astype(float))


def _offsets(places: torch.Tensor, flat: torch.Tensor, shape: Sequence[int]) -> np.ndarray:
    """How far the peaks lie from their voxels, in voxels (x, y, z): of a parabola through three."""
    found = []
    strides = (1, shape[2], shape[1] * shape[2])
    values = places.flatten(1)
    middle = values.gather(1, flat)
    for axis, stride in enumerate(strides):
        index = flat // stride % shape[2 - axis]
        inner = (index > 0) & (index < shape[2 - axis] - 1)
        before = values.gather(1, torch.where(inner, flat - stride, flat))
        after = values.gather(1, torch.where(inner, flat + stride, flat))
        bend = (2 * middle - before - after).clamp_min(1e-3)
        shift = torch.nan_to_num(0.5 * (after - before) / bend).clamp(-0.5, 0.5)
        found.append(torch.where(inner & torch.isfinite(middle), shift, torch.zeros_like(shift)))
    return torch.stack(found, -1).numpy()


def choose(candidates: Candidates, shape: ShapeModel, step_mm: float,
           rough_mm: float = 0.0) -> np.ndarray:
    """Number of the candidate of each landmark that fits the image and the others best.

    Args:
        candidates: of each landmark.
        shape: of the model.
        step_mm: of the coarse map.
        rough_mm: error of the candidates, where bodies may lie turned in any way; otherwise 0.
    """
    rows = np.arange(len(candidates.points))
    alone = candidates.places + candidates.names
    chosen = agreeing(candidates.points, alone, shape.mean) if rough_mm else alone.argmax(1)
    for _ in range(TURNS):
        points = candidates.points[rows, chosen]
        # the square root: a landmark that looks like none still has a little to say
        expected, error = shape.predict(points, np.exp(candidates.names[rows, chosen] / 2),
                                        rough_mm)
        spread = WIDENED * error + step_mm / 2
        apart = np.linalg.norm(candidates.points - expected[:, None], axis=2) / spread[:, None]
        fits = alone - 0.5 * np.square(apart)
        fits[~np.isfinite(alone)] = -np.inf
        after = fits.argmax(1)
        if (after == chosen).all():
            break
        chosen = after
    return chosen


def _impossible(seen: FirstLook, shape: ShapeModel, low: np.ndarray, size: np.ndarray,
                names: Sequence[str]) -> dict[str, str]:
    """Why landmarks are left out: outside the image, nothing like it, no body has it there."""
    points, own, step_mm = seen.points, seen.names, seen.step_mm
    expected, error = shape.predict(points, np.exp(own / 2), seen.rough_mm)
    apart = np.linalg.norm(points - expected, axis=1) / (WIDENED * error + step_mm / 2)
    margin = BEYOND * step_mm
    outside = ((expected < low - margin) | (expected > low + size + margin)).any(1)
    reasons = {}
    for number, name in enumerate(names):
        if outside[number] and apart[number] > 2:
            reasons[name] = "outside the image"
        elif own[number] < np.log(LEAST_NAME):
            reasons[name] = "nothing looks like it"
        elif apart[number] > FAR:
            reasons[name] = "what looks like it lies where it cannot be"
    count = len(names) - len(reasons)
    # a few places that happen to lie as landmarks do are no body
    if count < min(FEWEST, len(names)) or count < LEAST_FOUND * (~outside).sum():
        return {name: reasons.get(name, "too few others were found") for name in names}
    return reasons


def evidence_of(own: np.ndarray, look, before: np.ndarray, after: np.ndarray,
                coarse_shape: tuple[np.ndarray, np.ndarray],
                fine_shape: tuple[np.ndarray, np.ndarray], step_mm: float) -> np.ndarray:
    """What speaks for landmarks, (n, evidence), in the order of :data:`.confidence.EVIDENCE`."""
    def chance(share: np.ndarray) -> np.ndarray:
        return logit(np.clip(share, 1e-3, 1 - 1e-3))

    def distance(points: np.ndarray, shape: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        expected, error = shape
        return np.log1p(np.linalg.norm(points - expected, axis=1) / error)

    return np.column_stack([
        chance(np.exp(own)), chance(look.names), chance(look.mass), distance(before, coarse_shape),
        distance(after, fine_shape), np.log1p(np.linalg.norm(after - before, axis=1) / step_mm)])
