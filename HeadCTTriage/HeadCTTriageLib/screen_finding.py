# SPDX-License-Identifier: Apache-2.0
"""The monitor in a photo: a dark quadrilateral that encloses a bright head, made straight.

The border of what is darker than some level is searched for four straight lines (Hough transform;
Duda & Hart, Communications of the ACM 1972). All levels are tried, because nobody knows how bright
the wall is; the monitor is what has the most of its four sides. Things that hang over it, its foot
and reflections add to the border, but no long lines, so they do not count.

Places are x and y in pixels; corners in the order of :mod:`.projection`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product

import numpy as np
from scipy import ndimage

from ReadingRoomLib.errors import BadInput

from .projection import homography, project

COARSE = 320  # pixels of the longer side in which the screen is searched
LEVELS = 12
LEAST_AREA = 0.06  # of the photo
LINES = 4  # of each direction, more upright and more level, that are combined
NEAR = 2.0  # coarse pixels from a line that still belong to it
STEEP = 0.72  # cosine of 44 degrees, which no side leans
STRETCHES = 24  # in which a side is cut to see how much of it there is
LEAST_SEEN, LEAST_SIDE = 0.62, 0.3  # of all four sides, and of each
AS_GOOD = 0.08  # less seen: the larger one is the monitor, the smaller its screen
STATIONS = 60  # along a side where its exact place is looked for
LARGEST = 1600  # pixels of a straightened picture
NO_SCREEN = ("No screen can be found: take the photo so that all four borders of the monitor are "
             "in it, with the slice on a black screen and something brighter behind.")


def find_screen(grey: np.ndarray) -> np.ndarray:
    """Corners of the monitor, (4, 2), to a fraction of a pixel.

    Args:
        grey: photo, (height, width), 0 to 1, upright.

    Raises:
        BadInput: there is no dark quadrilateral in it.
    """
    shrink = max(1.0, max(grey.shape) / COARSE)
    small = _shrunk(grey, shrink)
    found = [each for level in _levels(small) for region in _dark_regions(small, level)
             for each in _quadrilaterals(region)]
    if not found:
        raise BadInput(NO_SCREEN)
    best = max(seen for seen, _ in found)
    coarse = max((corners for seen, corners in found if seen > best - AS_GOOD), key=_area)
    corners = (coarse + 0.5) * shrink - 0.5
    smooth = ndimage.gaussian_filter(grey, max(grey.shape) / 1200)
    for reach in (1.5 * NEAR * shrink, NEAR * shrink):
        corners = _refined(smooth, corners, reach)
    return corners


def straighten(photo: np.ndarray, corners: np.ndarray, aspect: float) -> np.ndarray:
    """The monitor as seen from in front, with the resolution of the photo.

    Args:
        photo: (height, width, channels).
        corners: (4, 2).
        aspect: width as share of height.

    Returns:
        (height, width, channels), float32.
    """
    sides = np.linalg.norm(corners - np.roll(corners, -1, 0), axis=1)
    width = min(float(max(sides[0], sides[2], aspect * sides[1], aspect * sides[3])),
                LARGEST * min(1.0, aspect))
    size = round(width), round(width / aspect)
    target = np.array([[0, 0], [size[0], 0], size, [0, size[1]]]) - 0.5
    columns, rows = project(homography(target, corners),
                            *np.meshgrid(np.arange(size[0]), np.arange(size[1])))
    return np.stack([ndimage.map_coordinates(channel.astype(np.float32), [rows, columns], order=1,
                                             mode="nearest")
                     for channel in np.moveaxis(photo, -1, 0)], -1)


def _shrunk(grey: np.ndarray, times: float) -> np.ndarray:
    from PIL import Image

    image = Image.fromarray(grey.astype(np.float32))
    size = [round(side / times) for side in image.size]
    return np.asarray(image.resize(size, Image.Resampling.BOX))


def _levels(small: np.ndarray) -> np.ndarray:
    """Between the screen's black and the wall."""
    low, high = np.quantile(small, (0.02, 0.95))
    return np.linspace(low, high, LEVELS + 2)[1:-1]


def _dark_regions(small: np.ndarray, level: float) -> Iterator[np.ndarray]:
    """Connected regions below a level, without their holes; the few that are large."""
    labels, count = ndimage.label(small < level)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    for number in np.argsort(-sizes)[:2]:
        if sizes[number] > LEAST_AREA / 2 * small.size:
            region = ndimage.binary_fill_holes(labels == number + 1)
            if LEAST_AREA < region.mean() < 0.97:
                yield region


def _quadrilaterals(region: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    """Quadrilaterals that its border may be: how much of their sides is there, and corners."""
    border = region & ~ndimage.binary_erosion(region, border_value=1)
    points = np.argwhere(border)[:, ::-1].astype(float)
    inside = ((points > 1) & (points < np.array(region.shape)[::-1] - 2)).all(1)
    points = points[inside]
    upright, level = _lines(points)
    for (left, right), (top, bottom) in product(combinations(upright, 2), combinations(level, 2)):
        corners = _ordered(np.array([_crossing(a, b) for a, b in (
            (left, top), (right, top), (right, bottom), (left, bottom))]))
        if _possible(corners, region.shape):
            sides = _seen(region, corners)
            if sides.min() > LEAST_SIDE and sides.mean() > LEAST_SEEN:
                yield float(sides.mean()), corners


def _lines(points: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The longest lines among points: more upright ones and more level ones.

    A line is (a, b, c) with a x + b y = c and a length of (a, b) of 1.
    """
    angles = np.radians(np.arange(-45, 135, 1.0))
    normals = np.stack([np.cos(angles), np.sin(angles)])
    found = [], []
    for axis, part in enumerate((normals[:, :90], normals[:, 90:])):
        lines = found[axis]
        left = points
        for _ in range(LINES):
            if not len(left):
                break
            line = _strongest(left, part)
            for _ in range(2):
                near = abs(left @ line[:2] - line[2]) < NEAR
                if near.sum() < STRETCHES // 2:
                    break
                line = _fitted(left[near])
            near = abs(left @ line[:2] - line[2]) < 1.5 * NEAR
            if near.sum() < STRETCHES // 2:
                break
            if abs(line[axis]) > STEEP:
                lines.append(line)
            left = left[~near]
    return found


def _strongest(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """The line that most points lie on, of those with given normals (2, n)."""
    away = np.rint((points @ normals) / NEAR).astype(int)
    lowest = int(away.min())
    span = int(away.max()) - lowest + 1
    votes = np.bincount((away - lowest + span * np.arange(normals.shape[1])).ravel(),
                        minlength=span * normals.shape[1])
    number, place = divmod(int(votes.argmax()), span)
    return np.append(normals[:, number], (place + lowest) * NEAR)


def _fitted(points: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The line with the least squares of distances."""
    middle = np.average(points, 0, weights)
    spread = (points - middle) * (1 if weights is None else np.sqrt(weights)[:, None])
    normal = np.linalg.svd(spread, full_matrices=False)[2][-1]
    return np.append(normal, normal @ middle)


def _crossing(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Of two lines, one more upright and one more level, which are never parallel."""
    (a, b, c), (d, e, f) = one.tolist(), other.tolist()
    size = a * e - b * d
    return (c * e - b * f) / size, (a * f - c * d) / size


def _ordered(corners: np.ndarray) -> np.ndarray:
    """Top left, top right, bottom right, bottom left."""
    turn = corners - corners.mean(0)
    around = corners[np.argsort(np.arctan2(turn[:, 1], turn[:, 0]))]
    return np.roll(around, -int(around.sum(1).argmin()), 0)


def _area(corners: np.ndarray) -> float:
    x, y = corners.T
    return 0.5 * float(x @ np.roll(y, -1) - y @ np.roll(x, -1))


def _possible(corners: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Convex, large, within the photo, and about as long as monitors are."""
    size = np.array(shape)[::-1]
    after = np.roll(corners, -1, 0) - corners
    turns = after[:, 0] * np.roll(after[:, 1], -1) - after[:, 1] * np.roll(after[:, 0], -1)
    if (turns <= 0).any() or (corners < -2).any() or (corners > size + 1).any():
        return False
    sides = np.linalg.norm(after, axis=1)
    long = (sides[0] + sides[2]) / (sides[1] + sides[3])
    alike = min(sides[0], sides[2]) > 0.5 * max(sides[0], sides[2]) and (
        min(sides[1], sides[3]) > 0.5 * max(sides[1], sides[3]))
    return alike and 0.8 < long < 3 and _area(corners) > LEAST_AREA * size.prod()


def _seen(region: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Share of each side with the region within it and not beyond, (4,).

    The edge of a desk is no side: it is dark on the wrong side of it.
    """
    after = np.roll(corners, -1, 0) - corners
    outward = np.stack([after[:, 1], -after[:, 0]], 1) / np.linalg.norm(after, axis=1)[:, None]
    stations = corners[:, None] + (np.arange(STRETCHES) + 0.5)[:, None] / STRETCHES * after[:, None]

    def there(places: np.ndarray) -> np.ndarray:
        x, y = np.rint(np.moveaxis(places, -1, 0)).astype(int)
        height, width = region.shape
        return (region[y.clip(0, height - 1), x.clip(0, width - 1)]
                & (x >= 0) & (y >= 0) & (x < width) & (y < height))

    step = (NEAR + 0.5) * outward[:, None]
    return (there(stations - step) & ~there(stations + step)).mean(1)


def _refined(smooth: np.ndarray, corners: np.ndarray, reach: float) -> np.ndarray:
    """The same corners after each side was moved to where it gets bright the most."""
    lines = [_side(smooth, a, b, reach) for a, b in zip(corners, np.roll(corners, -1, 0),
                                                       strict=True)]
    return np.array([_crossing(lines[number - 1], lines[number]) for number in range(4)])


def _side(smooth: np.ndarray, start: np.ndarray, end: np.ndarray, reach: float) -> np.ndarray:
    """The line of a side, outliers ignored (Tukey's weights)."""
    along = end - start
    outward = np.array([along[1], -along[0]]) / np.linalg.norm(along)
    stations = start + np.linspace(0.03, 0.97, STATIONS)[:, None] * along
    offsets = np.arange(-reach, reach + 0.25, 0.5)
    places = stations[:, None] + offsets[:, None] * outward
    profile = ndimage.map_coordinates(smooth, [places[..., 1], places[..., 0]], order=1,
                                      mode="nearest")
    rise = np.gradient(profile, axis=1)
    steepest = rise.argmax(1)
    strength = rise.max(1)
    points = stations + offsets[steepest][:, None] * outward
    weights = strength.clip(0) + 1e-6
    line = _fitted(points, weights)
    for _ in range(8):
        far = points @ line[:2] - line[2]
        scale = max(0.5, 4.7 * float(np.median(abs(far))))
        kept = weights * (1 - (far / scale).clip(-1, 1) ** 2) ** 2 + 1e-9
        line = _fitted(points, kept)
    return line
