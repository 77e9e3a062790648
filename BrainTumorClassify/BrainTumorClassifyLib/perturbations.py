# SPDX-License-Identifier: Apache-2.0
"""What scanners, protocols and archives do to the sequences of a patient.

All is done to sequences that are aligned already, on the grid of the contrast-enhanced T1, whole
volumes at a time. All sequences of a study are changed together and as strongly.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.geometry import image_like
from ReadingRoomLib.perturbations import Perturbation, stored_as_jpeg

from .preparation import correct_bias, on_grid
from .regions import plane_of
from .study import Study

Images = dict[str, sitk.Image]
"""By sequence, float32, all on one grid."""
JPEG_BITS, JPEG_2000_BITS = 8, 12
STORED_BITS = 16  # for which the ratio of JPEG 2000 counts, as archives do
FIELD_CELLS = 3  # of the grid a bias field is drawn on, along each axis
LEAST_SENSITIVITY = 0.05  # far from the brain
RESOLUTIONS = 6  # of the wavelet transform, as usual


def as_jpeg(study: Study, loss: float, random: np.random.Generator) -> Images:
    """Store slices as JPEG of quality 100 less the loss, in 8 bits over the range of a series."""
    return _stored(study, JPEG_BITS,
                   lambda levels: stored_as_jpeg(levels, max(1, round(100 - loss))))


def as_jpeg_2000(study: Study, ratio: float, random: np.random.Generator) -> Images:
    """Store slices as lossy JPEG 2000 of a ratio, in 12 of 16 bits over the range of a series."""
    return _stored(study, JPEG_2000_BITS, lambda levels: np.stack(
        [decoded(encoded_as_jpeg_2000(plane, ratio)) for plane in levels]))


def encoded_as_jpeg_2000(plane: np.ndarray, ratio: float) -> bytes:
    """A plane (height, width), uint16, as lossy JPEG 2000, so many times smaller than 16 bits."""
    from PIL import Image

    stream = io.BytesIO()
    # each resolution halves the plane
    levels = int(np.clip(np.log2(min(plane.shape)), 1, RESOLUTIONS))
    Image.fromarray(plane).save(stream, "JPEG2000", irreversible=True, quality_mode="rates",
                                quality_layers=[ratio], num_resolutions=levels)
    return stream.getvalue()


def decoded(content: bytes) -> np.ndarray:
    """The plane of a picture."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture)


def shaded(study: Study, strength: float, random: np.random.Generator) -> Images:
    """Multiply all sequences by one smooth field that varies by so many per cent in the brain.

    20 % is a field from 0.9 to 1.1, as BrainWeb counts (Collins et al., IEEE TMI 1998).
    """
    brain = sitk.GetArrayViewFromImage(study.brain) > 0
    cells = random.standard_normal([FIELD_CELLS] * 3)
    field = ndimage.zoom(cells, np.array(brain.shape) / FIELD_CELLS, order=3, mode="nearest",
                         grid_mode=True)
    low, high = field[brain].min(), field[brain].max()
    field = 1 + strength / 100 * ((field - low) / (high - low) - 0.5)
    factor = image_like(np.maximum(field, LEAST_SENSITIVITY).astype(np.float32), study.brain)
    return {name: image * factor for name, image in study.images.items()}


def shaded_and_corrected(study: Study, strength: float, random: np.random.Generator) -> Images:
    """The same, and the field taken out by N4; of 0 % it is N4 alone."""
    shown = shaded(study, strength, random) if strength else study.images
    return {name: correct_bias(image, study.head) for name, image in shown.items()}


def noisy(study: Study, strength: float, random: np.random.Generator) -> Images:
    """Add Rician noise whose standard deviation is so many per cent of the brain's median."""
    brain = sitk.GetArrayViewFromImage(study.brain) > 0
    found = {}
    for name, image in study.images.items():
        values = sitk.GetArrayFromImage(image)
        deviation = strength / 100 * float(np.median(values[brain]))
        real, imaginary = deviation * random.standard_normal((2, *values.shape), np.float32)
        found[name] = image_like(np.hypot(values + real, imaginary), image)
    return found


def thicker(study: Study, factor: float, random: np.random.Generator) -> Images:
    """Average over slices so many times as thick."""
    return _coarser(study, [factor if axis == plane_of(study.reference).axis else 1.0
                            for axis in range(3)])


def blurred(study: Study, factor: float, random: np.random.Generator) -> Images:
    """Average over pixels so many times as wide, within slices."""
    return _coarser(study, [1.0 if axis == plane_of(study.reference).axis else factor
                            for axis in range(3)])


PERTURBATIONS = {
    "jpeg": Perturbation("JPEG, 8 bits", "loss of quality", (10, 30, 50, 80, 95), as_jpeg),
    "jpeg2000": Perturbation("JPEG 2000, 12 bits", "ratio to 1", (5, 10, 20, 40, 80),
                             as_jpeg_2000),
    "bias": Perturbation("bias field", "% in the brain", (10, 20, 40, 80), shaded),
    "n4": Perturbation("bias field, then N4", "% in the brain", (0, 20, 40, 80),
                       shaded_and_corrected),
    "noise": Perturbation("noise", "% of the brain", (1, 3, 5, 10, 20), noisy),
    "thickness": Perturbation("slice thickness", "times", (2, 3, 4), thicker),
    "resolution": Perturbation("pixel width", "times", (2, 3, 4, 6), blurred),
}
"""By the names of the option ``--only``."""


def _stored(study: Study, bits: int, store: Callable[[np.ndarray], np.ndarray]) -> Images:
    """All slices of all sequences as whole numbers of so many bits, stored and read again."""
    axis = 2 - plane_of(study.reference).axis  # arrays are (z, y, x)
    most = 2**bits - 1
    found = {}
    for name, image in study.images.items():
        values = np.moveaxis(sitk.GetArrayFromImage(image), axis, 0)
        low = float(values.min())
        step = max((float(values.max()) - low) / most, 1e-9)
        levels = np.rint((values - low) / step).astype(np.uint8 if bits <= 8 else np.uint16)
        stored = store(np.ascontiguousarray(levels)).astype(np.float32)
        found[name] = image_like(np.moveaxis(low + step * stored, 0, axis), image)
    return found


def _coarser(study: Study, factors: list[float]) -> Images:
    """Sequences on voxels so many times as large, and brought back onto their grid."""
    fine = study.reference
    spacing, direction = np.array(fine.GetSpacing()), np.reshape(fine.GetDirection(), (3, 3))
    size = np.maximum(np.array(fine.GetSize()) // factors, 1).astype(int)
    grid = sitk.Image(size.tolist(), sitk.sitkUInt8)
    grid.SetSpacing((spacing * factors).tolist())
    grid.SetDirection(fine.GetDirection())
    grid.SetOrigin((fine.GetOrigin() + direction @ (spacing * (np.array(factors) - 1) / 2)
                    ).tolist())
    return {name: sitk.Resample(on_grid(image, grid), fine, sitk.Transform(), sitk.sitkLinear, 0.0,
                                sitk.sitkFloat32, True)  # the nearest value beyond its middles
            for name, image in study.images.items()}
