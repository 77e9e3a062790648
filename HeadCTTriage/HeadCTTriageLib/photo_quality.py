# SPDX-License-Identifier: Apache-2.0
"""Whether a photo shows a slice well enough to be judged: four scores, each 0 to 1.

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
SOFT = {0.8: 0.5, 0.95: 0.8}
"""How brightness rises at the border of light, at most: quantiles, as share of the rise that the
photo's blur leaves of a sharp border. Blood on real CTs has more of at least one of them."""
BORDER_MM = 7.0  # around it
SKULL_MM = 8.0  # from the outline, which is sharp whatever it lies beside
SMOOTH_MM = 0.75  # standard deviation that is taken off noise before borders are measured
COARSE = 4  # pixels to one, for the outline
TILE_MM, STEP_MM = 48.0, 24.0  # in which stripes are looked for
PERIOD_MM = (1.4, 9.0)  # of the stripes that are looked for
RADII = 24  # rings of the spectrum of a tile

LIMITS = {"blur": 0.5, "glare": 0.015, "moire": 0.01, "outline": 0.02}
"""Highest scores of a photo that is judged. Chosen on simulated photos, none was real."""
RETAKE = {
    "blur": "The photo is blurred: hold the camera still, closer to the screen, and take the photo "
            "again.",
    "glare": "There is glare on the screen: turn the monitor or the lamp and take the photo again.",
    "moire": "Lines (moire) lie over the image: change the distance a little and take the photo "
             "again.",
    "outline": "The outline is not that of a head: show the whole slice, without a lamp or window "
               "in the glass, and take the photo again.",
}


@dataclass(frozen=True)
class Quality:
    """How much a photo is disturbed, 0 (not at all) to 1.

    Attributes:
        blur: width of the sharpest edges in the direction in which they are least sharp: standard
            deviation in mm of an average head, by 4 mm.
        glare: share of the head and the black around it that is lit from elsewhere.
        moire: contrast of the strongest regular stripes, as share of white.
        outline: share of the head that lies off an oval: it is cut off, or light merges with it.
    """

    blur: float
    glare: float
    moire: float
    outline: float

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
    blur = _blur(fine, inside)
    return Quality(blur, _glare(fine, inside, blur * BLUR_MM), _moire(fine, inside),
                   _outline(inside))


def _blur(picture: np.ndarray, head: np.ndarray) -> float:
    """The steepest rise of a blurred step of height 1 is 1 / (sqrt(2 pi) sigma)."""
    smooth = ndimage.gaussian_filter(picture, 1.0)  # noise has steep rises, too
    near = ndimage.binary_dilation(head, iterations=4)
    down, right = np.gradient(smooth, PIXEL_MM)
    rises = [np.quantile(abs(np.cos(angle) * right + np.sin(angle) * down)[near], 0.995)
             for angle in np.arange(4) * np.pi / 4]
    sigma = 1 / (np.sqrt(2 * np.pi) * max(min(rises), 1e-3))
    return float(min(1.0, sigma / BLUR_MM))


def _glare(picture: np.ndarray, head: np.ndarray, blur_mm: float) -> float:
    """Light where the screen is black, and white places whose borders are soft.

    Only the border towards the brain tells blood from a lamp: the skull is sharp whatever touches
    it. How sharp blood may be depends on how blurred the photo is.
    """
    around = ~ndimage.binary_dilation(head, iterations=12)
    deep = ndimage.distance_transform_edt(head) * PIXEL_MM > SKULL_MM
    white = ndimage.gaussian_filter(picture, SMOOTH_MM / PIXEL_MM)
    whole = _wide(white > WASHED_OUT)
    labels, count = ndimage.label(whole)
    borders = ndimage.maximum_filter(labels, 2 * round(BORDER_MM / PIXEL_MM) + 1) * (~whole & deep)
    rise = np.hypot(*np.gradient(white, PIXEL_MM))
    brain = deep & ~whole
    step = 1 - np.median(white[brain]) if brain.any() else 1.0
    sharp = step / (np.sqrt(2 * np.pi) * np.hypot(blur_mm, SMOOTH_MM))
    soft = [number for number in range(1, count + 1) if (borders == number).any() and all(
        np.quantile(rise[borders == number], share) < most * sharp
        for share, most in SOFT.items())]
    return float((_wide(white > LIGHT) & around | np.isin(labels, soft) & (labels > 0)).mean())


def _outline(head: np.ndarray) -> float:
    """Share of the head that its oval lacks or has too much, where that is wide.

    The oval is the ellipse that has the same mean and the same spread.
    """
    coarse = head[::COARSE, ::COARSE]
    places = np.argwhere(coarse)
    away = np.indices(coarse.shape).reshape(2, -1) - places.mean(0)[:, None]
    far = (away * np.linalg.solve(np.cov(places.T), away)).sum(0).reshape(coarse.shape)
    return float(min(1.0, _wide(coarse ^ (far <= 4), COARSE * PIXEL_MM).sum() / len(places)))


def _wide(mask: np.ndarray, pixel_mm: float = PIXEL_MM) -> np.ndarray:
    """What of a mask is wide in both directions; letters, noses and the skull are not."""
    size = round(WIDE_MM / pixel_mm)
    return ndimage.maximum_filter(ndimage.minimum_filter(mask, size), size)


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
