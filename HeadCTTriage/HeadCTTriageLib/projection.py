# SPDX-License-Identifier: Apache-2.0
"""What perspective does to a plane: maps between four corners, and the shape of a rectangle.

Places are x and y in pixels, whose first has its middle at 0, 0. Corners are in the order top left,
top right, bottom right, bottom left.
"""

from __future__ import annotations

import numpy as np

FOCAL = (0.6, 1.5)
"""Lowest and highest focal length that is believed, as share of the longer side of a photo;
telephones have 0.7 to 0.9 and twice that with their second lens."""


def homography(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The map that brings four places to four others.

    Args:
        source, target: (4, 2); no three of them on a line.

    Returns:
        (3, 3), of homogeneous coordinates; its last element is 1.

    Source: direct linear transformation, Hartley & Zisserman, Multiple View Geometry, 2004.
    """
    rows = []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    return np.append(np.linalg.solve(rows, np.ravel(target)), 1).reshape(3, 3)


def project(matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a homography brings places; arrays of any shape, pixels."""
    u, v, w = (row[0] * x + row[1] * y + row[2] for row in matrix)
    return u / w, v / w


def aspect_of(corners: np.ndarray, size: tuple[int, int]) -> float:
    """Width of a rectangle as share of its height, from how a camera sees it.

    Args:
        corners: (4, 2).
        size: width and height of the photo, whose middle the camera looks through; its pixels are
            square.

    Source: Zhang & He, Whiteboard scanning and image enhancement, Digital Signal Processing 2007.
    The focal length follows from the perspective, too; where that is too weak to tell it, one
    usual for telephones is taken, which then hardly matters.
    """
    longer = max(size)
    centred = (np.asarray(corners, float) - (np.array(size) - 1) / 2) / longer
    top_left, top_right, bottom_right, bottom_left = np.column_stack([centred, np.ones(4)])
    across = np.cross(top_left, bottom_right)
    k2 = across @ bottom_left / (np.cross(top_right, bottom_right) @ bottom_left)
    k3 = across @ top_right / (np.cross(bottom_left, bottom_right) @ top_right)
    right, down = k2 * top_right - top_left, k3 * bottom_left - top_left
    depth = right[2] * down[2]
    square = -(right[:2] @ down[:2]) / depth if abs(depth) > 1e-6 else 0.0
    focal = np.clip(np.sqrt(square), *FOCAL) if square > 0 else 0.85
    scale = np.array([1 / focal, 1 / focal, 1.0])
    return float(np.linalg.norm(scale * right) / np.linalg.norm(scale * down))
