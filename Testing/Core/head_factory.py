# SPDX-License-Identifier: Apache-2.0
"""A toy of an average head."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ReadingRoomLib.phantoms.head_template import HeadTemplate

RADII = (58.0, 78.0, 64.0)  # of the toy's brain, (z, y, x)


def make_template() -> HeadTemplate:
    """A toy: an ellipsoid of brain with two ventricles."""
    size = [int(2 * radius) + 90 for radius in RADII]
    z, y, x = np.meshgrid(*[np.arange(n) - n // 2 for n in size], indexing="ij", sparse=True)
    inside = sum((a / r) ** 2 for a, r in zip((z, y, x), RADII, strict=True)) < 1
    fluid = (z / 10) ** 2 + ((y + 5) / 28) ** 2 + ((np.abs(x) - 12) / 7) ** 2 < 1

    def signed(mask):
        return (ndimage.distance_transform_edt(~mask)
                - ndimage.distance_transform_edt(mask)).astype(np.float32)

    density = np.where(fluid, 8.0, 33.0).astype(np.float32)
    return HeadTemplate(density, signed(inside), signed(fluid), tuple(n // 2 for n in size))
