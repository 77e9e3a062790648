# SPDX-License-Identifier: Apache-2.0
"""A volume in blocks, so that memory does not grow with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

Place = tuple[slice, ...]


def blocks(shape: Sequence[int], size: int, margin: Sequence[int]) -> Iterator[tuple[Place, Place]]:
    """Blocks of ``size`` voxels that tile a volume, and each with a margin around it."""
    for place in np.ndindex(*[-(-length // size) for length in shape]):
        inner = tuple(slice(i * size, min((i + 1) * size, length))
                      for i, length in zip(place, shape, strict=True))
        yield inner, tuple(slice(max(side.start - m, 0), min(side.stop + m, length))
                           for side, m, length in zip(inner, margin, shape, strict=True))


def within(inner: Place, outer: Place) -> Place:
    """Where a block lies in itself with its margin."""
    return tuple(slice(i.start - o.start, i.stop - o.start)
                 for i, o in zip(inner, outer, strict=True))
