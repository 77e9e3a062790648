# SPDX-License-Identifier: Apache-2.0
"""From a photo of a monitor to the picture of the slice on it, or to a request for a better photo.

Watanabe (KAKENHI 18K16600) filmed the monitor and lost most of the accuracy to reflections and
moire. So a photo is first made straight and then measured; a bad one is not judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from ReadingRoomLib.errors import BadInput

from .photo_quality import RETAKE, Quality, measure_quality
from .pictures import largest_region
from .projection import aspect_of
from .screen_finding import find_screen, straighten

FORMATS = ("JPEG", "PNG")
WORKING = 2400  # pixels of the longer side of a photo; more show nothing that is judged
LEAST_PIXELS = 400  # of the shorter side
GAMMA = 2.2  # of a photo's values, for adding and taking away light
FRAME, FRAME_LIGHT = 0.045, 0.02  # of the screen's side, where a frame may be; brighter than black
BLACK = 0.3  # share of white, below which a place of the screen may be black
BRIGHT = (0.75, 0.5, 0.38, 0.28)  # share of white; the first level that encloses a head
ROUND = 0.6  # share of its bounding box that a head fills
LEAST_HEAD = 0.03  # of the screen
LEAST_HEAD_PIXELS = 140  # of the head's length in the photo
MARGIN, RIM = 0.12, 0.02  # around a head, share of its length: what is cut out, what is shown
NO_HEAD = ("No head can be found on the screen: show one slice, as large as it can be, and take "
           "the photo again.")
TOO_FAR = "The head is small in the photo: hold the camera closer to the screen."


@dataclass(frozen=True)
class Shot:
    """What a photo shows.

    Attributes:
        photo: as it was used, upright, (height, width, 3), uint8.
        corners: of the monitor in it, (4, 2), x and y; see :mod:`.projection`.
        aspect: width of the monitor as share of its height.
        picture: the slice, straight and grey, (height, width), 0 to 1, black around the head;
            for :func:`.pictures.slice_of_picture`.
        quality: how much it is disturbed.
    """

    photo: np.ndarray
    corners: np.ndarray
    aspect: float
    picture: np.ndarray
    quality: Quality


def read_photo(path: Path) -> np.ndarray:
    """A JPEG or PNG file as it is meant to be seen, (height, width, 3), uint8.

    The orientation that the camera noted is obeyed. Files are not trusted: other formats are not
    even tried, and images of more pixels than Pillow believes are refused.

    Raises:
        BadInput: the file cannot be read, is no photo, or is too large or too small.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not path.is_file():
        raise BadInput(f"{path} cannot be found: check its name.")
    try:
        with Image.open(path, formats=FORMATS) as file:
            most = Image.MAX_IMAGE_PIXELS
            if most is not None and file.width * file.height > most:
                raise BadInput(_too_large(path))
            file.draft("RGB", (WORKING, WORKING))  # a large JPEG is read at a part of its size
            image = ImageOps.exif_transpose(file).convert("RGB")
    except UnidentifiedImageError as error:
        raise BadInput(f"{path.name} is no JPEG or PNG file: save the photo as one.") from error
    except Image.DecompressionBombError as error:
        raise BadInput(_too_large(path)) from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise BadInput(f"{path.name} is damaged: take or copy the photo again.") from error
    if min(image.size) < LEAST_PIXELS:
        raise BadInput(f"{path.name} has too few pixels: send the photo as the camera took it.")
    image.thumbnail((WORKING, WORKING))
    return np.asarray(image)


def look(photo: np.ndarray) -> Shot:
    """Find the monitor and the head on it, and measure how well they are seen.

    Args:
        photo: (height, width, 3), uint8, upright.

    Raises:
        BadInput: no monitor, or no head on it, can be found.
    """
    grey = photo.mean(-1, dtype=np.float32) / 255
    corners = find_screen(grey)
    aspect = aspect_of(corners, grey.shape[::-1])
    picture = even_light(_without_frame(straighten(photo, corners, aspect) / 255))
    head = _head(picture)
    rows, columns = (np.flatnonzero(head.any(axis)) for axis in (1, 0))
    long = max(np.ptp(rows), np.ptp(columns)) + 1
    if long < LEAST_HEAD_PIXELS:
        raise BadInput(TOO_FAR)
    margin = round(MARGIN * long)
    cut = tuple(slice(max(0, side[0] - margin), side[-1] + margin + 1) for side in (rows, columns))
    picture, head = picture[cut], head[cut]
    picture = (picture / np.quantile(picture[head], 0.97)).clip(0, 1)
    quality = measure_quality(picture, head)
    shown = ndimage.distance_transform_edt(~head) <= RIM * long
    return Shot(photo, corners, aspect, np.where(shown, picture, 0).astype(np.float32), quality)


def check(quality: Quality) -> None:
    """Raise BadInput that asks for another photo where one is too bad to be judged."""
    worst = quality.worst()
    if worst is not None:
        raise BadInput(RETAKE[worst])


def outlined(shot: Shot, color: tuple[int, int, int] = (255, 176, 0)) -> np.ndarray:
    """The photo with the outline of the monitor that was found, (height, width, 3), uint8."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(shot.photo)
    corners = [tuple(corner) for corner in shot.corners]
    ImageDraw.Draw(image).line([*corners, corners[0]], fill=color,
                               width=max(2, image.width // 300))
    return np.asarray(image)


def _too_large(path: Path) -> str:
    return f"{path.name} has too many pixels: send a usual photo."


def _without_frame(screen: np.ndarray) -> np.ndarray:
    """The straightened monitor (height, width, 3), without its frame."""
    grey = screen.mean(-1)
    black = float(np.quantile(grey, 0.1))
    cut = []
    for axis in (0, 1):
        lines = np.quantile(grey, 0.2, 1 - axis)  # the head never fills so much of a line
        most = max(2, round(FRAME * len(lines)))
        cut.append([_last_bright(side[:most], black + FRAME_LIGHT)
                    for side in (lines, lines[::-1])])
    (top, bottom), (left, right) = cut
    return screen[top:screen.shape[0] - bottom, left:screen.shape[1] - right]


def _last_bright(lines: np.ndarray, limit: float) -> int:
    """How many lines lie before the last bright one; 1 more for the border itself."""
    return 2 + int(np.flatnonzero(lines > limit).max(initial=-1))


def even_light(screen: np.ndarray) -> np.ndarray:
    """A screen in colours, 0 to 1, as grey: its black 0 everywhere, its white 1.

    Light that falls on the whole screen adds to what it shows, and the black around the head tells
    how much; a plane is fitted to it. What of it is not even, as a lamp, stays.
    """
    light = screen.astype(np.float32) ** GAMMA
    light = (light / np.quantile(light, 0.99, axis=(0, 1)).clip(1e-3)).mean(-1)
    rows, columns = np.mgrid[-1:1:light.shape[0] * 1j, -1:1:light.shape[1] * 1j]
    terms = np.stack([np.ones_like(rows), rows, columns], -1)
    black = light < BLACK**GAMMA
    sample = np.flatnonzero(black.ravel())[::7]
    if len(sample) < 50:
        raise BadInput(NO_HEAD)
    wanted, given = light.ravel()[sample], terms.reshape(-1, 3)[sample]
    weights = np.ones(len(sample))
    for _ in range(5):  # what is lit from elsewhere is above the plane and must not lift it
        plane = np.linalg.lstsq(given * weights[:, None], wanted * weights, rcond=None)[0]
        weights = np.where(wanted - given @ plane > 0, 0.3, 1.0)
    return ((light - terms @ plane).clip(0, None) ** (1 / GAMMA)).astype(np.float32)


def _head(picture: np.ndarray) -> np.ndarray:
    """The head on an even screen; raises BadInput where there is none."""
    for share in BRIGHT:
        bright = picture > share
        if not bright.any():
            continue
        head = largest_region(bright)
        rows, columns = (np.flatnonzero(head.any(axis)) for axis in (1, 0))
        box = len(head[rows[0]:rows[-1] + 1]) * (columns[-1] - columns[0] + 1)
        if head.mean() > LEAST_HEAD and head.sum() > ROUND * box:
            return head
    raise BadInput(NO_HEAD)
