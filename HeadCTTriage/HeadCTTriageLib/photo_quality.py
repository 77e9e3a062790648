# SPDX-License-Identifier: Apache-2.0
"""Whether a photo shows a slice well enough to be judged: blur, glare, moire, each 0 to 1.

Everything is measured on the straightened head, brought to pixels of half a millimetre of an
average head, so that numbers mean the same whatever camera, monitor and distance.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy import ndimage

from .pictures import HEAD_MM

PIXEL_MM = 0.5
BLUR_MM = 4.0  # of blur that is a score of 1
LIGHT = 0.4  # share of white, from which light on black is glare
WASHED_OUT, WIDE_MM = 0.94, 10.0  # white on so much in all directions may be glare
SOFT = 0.06  # rise of brightness at its border, share of white for each mm; blood and bone: more
BORDER_MM = 7.0  # around it
TILE_MM, STEP_MM = 48.0, 24.0  # in which stripes are looked for
PERIOD_MM = (1.4, 9.0)  # of the stripes that are looked for
RADII = 24  # rings of the spectrum of a tile

LIMITS = {"blur": 0.5, "glare": 0.015, "moire": 0.01}
"""Highest scores of a photo that is judged. Chosen on simulated photos, none was real."""
RETAKE = {
    "blur": "The photo is blurred: hold the camera still, closer to the screen, and take the photo "
            "again.",
    "glare": "There is glare on the screen: turn the monitor or the lamp and take the photo again.",
    "moire": "Lines (moire) lie over the image: change the distance a little and take the photo "
             "again.",
}


@dataclass(frozen=True)
class Quality:
    """How much a photo is disturbed, 0 (not at all) to 1.

    Attributes:
        blur: width of the sharpest edges in the direction in which they are least sharp: standard
            deviation in mm of an average head, by 4 mm.
        glare: share of the head and the black around it that is lit from elsewhere.
        moire: contrast of the strongest regular stripes, as share of white.
    """

    blur: float
    glare: float
    moire: float

    def written(self) -> dict[str, float]:
        return {name: round(value, 4) for name, value in asdict(self).items()}

    def worst(self) -> str | None:
        """Name of the score that exceeds its limit by the largest factor, or None."""
        over = {name: value / LIMITS[name] for name, value in asdict(self).items()}
        name = max(over, key=over.get)
        return name if over[name] > 1 else None


def measure_quality(picture: np.ndarray, head: np.ndarray) -> Quality:
    """The quality of a straightened photo around the head.

    Args:
        picture: grey, (height, width), 0 (black of the screen) to 1 (white of the head).
        head: where the head is, of the same shape.
    """
    rows, columns = (np.flatnonzero(head.any(axis)) for axis in (1, 0))
    long = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    times = HEAD_MM / PIXEL_MM / long
    fine = ndimage.zoom(ndimage.gaussian_filter(picture, 0.4 * max(0.0, 1 / times - 1)), times,
                        order=1)
    inside = ndimage.zoom(head.astype(np.float32), times, order=1) > 0.5
    return Quality(_blur(fine, inside), _glare(fine, inside), _moire(fine, inside))


def _blur(picture: np.ndarray, head: np.ndarray) -> float:
    """The steepest rise of a blurred step of height 1 is 1 / (sqrt(2 pi) sigma)."""
    smooth = ndimage.gaussian_filter(picture, 1.0)  # noise has steep rises, too
    near = ndimage.binary_dilation(head, iterations=4)
    down, right = np.gradient(smooth, PIXEL_MM)
    rises = [np.quantile(abs(np.cos(angle) * right + np.sin(angle) * down)[near], 0.995)
             for angle in np.arange(4) * np.pi / 4]
    sigma = 1 / (np.sqrt(2 * np.pi) * max(min(rises), 1e-3))
    return float(min(1.0, sigma / BLUR_MM))


def _glare(picture: np.ndarray, head: np.ndarray) -> float:
    """Light where the screen is black, and white places whose borders are soft."""
    around = ~ndimage.binary_dilation(head, iterations=12)
    white = ndimage.gaussian_filter(picture, 1.5)

    def wide(limit: float) -> np.ndarray:
        size = round(WIDE_MM / PIXEL_MM)  # letters and the skull are thinner
        return ndimage.maximum_filter(ndimage.minimum_filter(white, size) > limit, size)

    whole = wide(WASHED_OUT)
    labels, count = ndimage.label(whole)
    borders = ndimage.maximum_filter(labels, 2 * round(BORDER_MM / PIXEL_MM) + 1) * ~whole
    rise = np.hypot(*np.gradient(white, PIXEL_MM))
    soft = [number for number in range(1, count + 1)
            if (borders == number).any() and np.quantile(rise[borders == number], 0.8) < SOFT]
    return float((wide(LIGHT) & around | np.isin(labels, soft) & (labels > 0)).mean())


def _moire(picture: np.ndarray, head: np.ndarray) -> float:
    """Contrast of the strongest wave in each tile of the head beyond what anatomy has there.

    The spectrum of anatomy falls with frequency and is alike in directions; a regular pattern is a
    peak. The median of a ring says what is usual at a frequency. The median of the tiles is taken,
    so a wave counts where most of the head has it.
    """
    size, step = round(TILE_MM / PIXEL_MM), round(STEP_MM / PIXEL_MM)
    window = np.outer(*[np.hanning(size + 2)[1:-1]] * 2)
    down, right = np.meshgrid(np.fft.fftfreq(size, PIXEL_MM), np.fft.fftfreq(size, PIXEL_MM),
                              indexing="ij")
    frequency = np.hypot(down, right)
    wanted = (frequency > 1 / PERIOD_MM[1]) & (frequency < 1 / PERIOD_MM[0])
    ring = np.digitize(frequency[wanted], np.linspace(1 / PERIOD_MM[1], 1 / PERIOD_MM[0], RADII))
    waves = []
    for top in range(0, picture.shape[0] - size + 1, step):
        for left in range(0, picture.shape[1] - size + 1, step):
            tile = slice(top, top + size), slice(left, left + size)
            if head[tile].mean() < 0.6:
                continue
            part = picture[tile] - picture[tile].mean()
            amplitude = 2 * abs(np.fft.fft2(part * window))[wanted] / window.sum()
            usual = np.array([np.median(amplitude[ring == number]) if (ring == number).any() else 0
                              for number in range(RADII + 1)])[ring]
            waves.append(float((amplitude - 3 * usual).max(initial=0)))
    return float(np.clip(np.median(waves), 0, 1)) if waves else 0.0
