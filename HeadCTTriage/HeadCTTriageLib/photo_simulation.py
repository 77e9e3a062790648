# SPDX-License-Identifier: Apache-2.0
"""A photo of a monitor that shows a slice, simulated, so that the truth about it is known.

In the order of the light: the monitor turns grey values into light; lamps and windows are mirrored
in its glass; the camera looks from the side, through a lens that is not quite in focus and is not
held quite still; its pixels lie across those of the monitor, which makes moire; it adds noise and
turns light into the values of a JPEG file.

Source of the camera's model: Hartley & Zisserman, Multiple View Geometry, 2004. Moire is not
painted: the monitor's pixels are sampled by the camera's, as in Yuan et al., CVPRW 2019.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .projection import homography, project

ASPECTS = (16 / 9, 16 / 10, 4 / 3, 5 / 4)
COLOR_SHIFTS = np.array([-1, 0, 1], np.float32) / 3  # pixels, of red, green and blue stripes
LETTERS = "R L A P 12 W:80 L:40 kV 120 Se:2 Im:14"


@dataclass(frozen=True)
class PhotoRanges:
    """What is drawn for each photo: lowest and highest.

    Attributes:
        pixels: width of the photo; its height is three quarters of that.
        fill: share of the photo's width or height that the screen takes at most.
        tilt: of the camera off the axis of the screen, degrees.
        roll: of the camera about its own axis, degrees to either side.
        focal: focal length as share of the photo's width; telephones have 0.7 to 0.9.
        head: height of the picture as share of the screen's.
        bezel: width of the frame as share of the screen's.
        wall: brightness behind the monitor, as share of the monitor's white.
        clutter: number of things on the wall.
        gamma: of the monitor.
        black: light of a black pixel, share of white.
        exposure: light that the camera takes for white, share of the monitor's white, inverse.
        contrast: strength of the S of the camera's response, 0 to 1.
        vignetting: light lost in the corners of the photo, share.
        tint: deviation of red and blue from white, share to either side.
        glare: light of mirrored lamps at their brightest, share of the monitor's white.
        window: the same of a mirrored window.
        moire: contrast of the monitor's pixels as the lens shows them, share.
        pitch: camera pixels for each monitor pixel; near 1 the stripes are broad.
        blur: standard deviation of the lens's blur, thousandths of the photo's width.
        motion: length of the camera's movement, thousandths of the photo's width.
        noise: standard deviation at white, share of white.
        quality: of the JPEG file.
    """

    pixels: int = 1024
    fill: tuple[float, float] = (0.6, 0.93)
    tilt: tuple[float, float] = (0.0, 25.0)
    roll: float = 6.0
    focal: tuple[float, float] = (0.7, 1.0)
    head: tuple[float, float] = (0.75, 0.97)
    bezel: tuple[float, float] = (0.005, 0.02)
    wall: tuple[float, float] = (0.08, 0.8)
    clutter: tuple[int, int] = (0, 6)
    gamma: tuple[float, float] = (1.9, 2.4)
    black: tuple[float, float] = (0.001, 0.006)
    exposure: tuple[float, float] = (0.75, 1.15)
    contrast: tuple[float, float] = (0.0, 0.5)
    vignetting: tuple[float, float] = (0.0, 0.35)
    tint: float = 0.12
    glare: tuple[float, float] = (0.0, 0.5)
    window: tuple[float, float] = (0.0, 0.06)
    moire: tuple[float, float] = (0.0, 0.06)
    pitch: tuple[float, float] = (0.85, 1.2)
    blur: tuple[float, float] = (0.2, 1.4)
    motion: tuple[float, float] = (0.0, 2.0)
    noise: tuple[float, float] = (0.003, 0.025)
    quality: tuple[int, int] = (60, 95)


MILD = PhotoRanges(
    tilt=(0.0, 12.0), roll=2.0, wall=(0.25, 0.7), clutter=(0, 0), exposure=(0.9, 1.0),
    contrast=(0.0, 0.1), vignetting=(0.0, 0.1), tint=0.03, glare=(0.0, 0.0), window=(0.0, 0.0),
    moire=(0.0, 0.0), blur=(0.2, 0.4), motion=(0.0, 0.3), noise=(0.002, 0.005), quality=(92, 95))
"""Photos of somebody who took care."""


USUAL = PhotoRanges()


@dataclass(frozen=True)
class SimulatedPhoto:
    """A photo and the truth about it.

    Attributes:
        photo: (height, width, 3), uint8.
        corners: of the monitor with its frame, (4, 2): x and y in pixels of the photo, whose first
            pixel has its middle at 0, 0; top left, top right, bottom right, bottom left.
        aspect: width of the monitor with its frame as share of its height.
        head_corners: of the picture on the screen, in the same order.
        drawn: every amount, by its name in :class:`PhotoRanges`.
    """

    photo: np.ndarray
    corners: np.ndarray
    aspect: float
    head_corners: np.ndarray
    drawn: dict[str, float]


def simulate_photo(picture: np.ndarray, seed: int | tuple[int, ...],
                   ranges: PhotoRanges = USUAL) -> SimulatedPhoto:
    """Take a photo of a monitor that shows a picture.

    Args:
        picture: grey, (height, width), 0 to 1, of one slice.
        seed: of all that is drawn; same seed, same photo.
        ranges: of the draws.
    """
    random = np.random.default_rng(seed)
    drawn = _draw(ranges, random)
    width, height = ranges.pixels, ranges.pixels * 3 // 4
    aspect = ASPECTS[int(drawn["aspect"])]
    frame = drawn["bezel"] * aspect
    whole = np.array([aspect + 2 * frame, 1 + 2 * frame])  # heights of the screen
    corners = _seen_corners(whole, drawn, (width, height), random)
    to_screen = homography(corners, _rectangle(-frame, -frame, *(whole - frame)))
    places = np.meshgrid(np.arange(width), np.arange(height))
    x, y = (axis.astype(np.float32) for axis in project(to_screen, *places))

    on_screen = (x >= 0) & (x <= aspect) & (y >= 0) & (y <= 1)
    on_monitor = ((x >= -frame) & (x <= aspect + frame) & (y >= -frame) & (y <= 1 + frame))
    place = _place_of_picture(picture.shape, aspect, drawn["head"], random)
    pixel = np.sqrt(abs(np.linalg.det(to_screen[:2, :2])))  # of the photo, about, on the screen
    value = _shown(picture, place, x, y, pixel, random)
    light = drawn["black"] + (1 - drawn["black"]) * value ** drawn["gamma"]
    glass = _mirrored(x, y, aspect, drawn, random)
    room = _room(x, y, whole[1] - frame, aspect, drawn, random)
    scene = np.where(on_screen, light + glass, np.where(on_monitor, drawn["frame"] + glass / 3,
                                                        room))
    scene = _blurred(scene, drawn, width, random)
    across = 1 / (drawn["pitch"] * pixel)  # monitor pixels for each unit of the screen
    scene = scene[..., None] * _pixels(x * across, y * across, on_screen * drawn["moire"])
    photo = _developed(scene, drawn, random)
    left, top, size_x, size_y = place
    shown = _rectangle(left, top, left + size_x, top + size_y)
    seen = np.stack(project(np.linalg.inv(to_screen), *shown.T), -1)
    return SimulatedPhoto(photo, corners, float(whole[0] / whole[1]), seen, drawn)


def _draw(ranges: PhotoRanges, random: np.random.Generator) -> dict[str, float]:
    """One amount of everything."""
    drawn = {name: float(random.uniform(*value)) for name, value in vars(ranges).items()
             if isinstance(value, tuple)}
    drawn["clutter"] = float(random.integers(ranges.clutter[0], ranges.clutter[1] + 1))
    drawn["roll"] = random.uniform(-1, 1) * ranges.roll
    for name in ("red", "blue"):
        drawn[name] = 1 + random.uniform(-1, 1) * ranges.tint
    drawn["aspect"] = float(random.integers(len(ASPECTS)))
    drawn["frame"] = min(random.uniform(0.004, 0.03), drawn["wall"] / 6)  # dark, as most are
    return drawn


def _rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float)


def _seen_corners(size: np.ndarray, drawn: dict[str, float], photo: tuple[int, int],
                  random: np.random.Generator) -> np.ndarray:
    """Where a camera sees the corners of a rectangle, (4, 2), pixels."""
    focal = drawn["focal"] * photo[0]
    tilt, towards = np.radians(drawn["tilt"]), random.uniform(0, 2 * np.pi)
    axis = np.array([np.cos(towards), np.sin(towards), 0])
    turn = _rotation([0, 0, 1], np.radians(drawn["roll"])) @ _rotation(axis, tilt)
    points = np.column_stack([_rectangle(*(-size / 2), *(size / 2)), np.zeros(4)]) @ turn.T
    # the farther, the smaller: the distance at which it fills as much as wanted
    near, far = 0.8, 30.0
    for _ in range(40):
        distance = (near + far) / 2
        seen = focal * points[:, :2] / (points[:, 2:] + distance)
        if (np.ptp(seen, 0) / photo).max() > drawn["fill"]:
            near = distance
        else:
            far = distance
    # the camera stands beside its place, or the photo's middle would not be that of the lens
    free = np.array(photo) - np.ptp(seen, 0)
    middle = (seen.min(0) + seen.max(0)) / 2
    aside = (random.uniform(-0.4, 0.4, 2) * free - middle) * distance / focal
    seen = focal * (points[:, :2] + aside) / (points[:, 2:] + distance)
    return seen + (np.array(photo) - 1) / 2


def _rotation(axis, angle: float) -> np.ndarray:
    """Matrix of a turn about an axis of length 1 (Rodrigues)."""
    cross = np.cross(np.eye(3), axis)
    return np.eye(3) - np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _place_of_picture(shape: tuple[int, int], aspect: float, share: float,
                      random: np.random.Generator) -> tuple[float, float, float, float]:
    """Left, top, width and height of the picture on the screen, heights of the screen."""
    height = min(share, 0.98 * aspect * shape[0] / shape[1])
    width = height * shape[1] / shape[0]
    return (float(random.uniform(0.01, aspect - width - 0.01)),
            float(random.uniform(0.005, 0.995 - height)), width, height)


def _shown(picture: np.ndarray, place, x: np.ndarray, y: np.ndarray, pixel: float,
           random: np.random.Generator) -> np.ndarray:
    """Grey values of the screen at places, 0 to 1: the picture, and what viewers write beside."""
    left, top, width, height = place
    step = pixel * picture.shape[0] / height  # pixels of the picture for one of the photo
    smooth = ndimage.gaussian_filter(picture.astype(np.float32), 0.4 * max(0, step - 1))
    rows = (y - top) / height * picture.shape[0] - 0.5
    columns = (x - left) / width * picture.shape[1] - 0.5
    value = ndimage.map_coordinates(smooth, [rows, columns], order=1, mode="constant")
    for line, words in enumerate(_words(random)):
        at = (x - 0.015) / 0.03, (y - 0.02 - 0.045 * line) / 0.03
        value = np.maximum(value, 0.6 * ndimage.map_coordinates(
            words, [at[1] * 32, at[0] * 32], order=1, mode="constant"))
    return value.clip(0, 1)


def _words(random: np.random.Generator) -> list[np.ndarray]:
    """Two lines of text, each 32 pixels high, 0 to 1."""
    from PIL import Image, ImageDraw, ImageFont

    lines = []
    for _ in range(2):
        text = " ".join(random.permutation(LETTERS.split())[:2])
        image = Image.new("L", (160, 32))
        ImageDraw.Draw(image).text((2, 0), text, fill=255, font=ImageFont.load_default(26))
        lines.append(np.asarray(image, np.float32) / 255)
    return lines


def _mirrored(x: np.ndarray, y: np.ndarray, aspect: float, drawn: dict[str, float],
              random: np.random.Generator) -> np.ndarray:
    """Light of lamps and of a window in the glass, share of the monitor's white."""
    light = np.zeros_like(x)
    for _ in range(int(random.integers(1, 4))):
        middle = random.uniform(0, aspect), random.uniform(0, 1)
        size = random.uniform(0.03, 0.12), random.uniform(0.03, 0.12)
        far = ((x - middle[0]) / size[0])**2 + ((y - middle[1]) / size[1])**2
        # a lamp has a bright core and a halo from the roughness of the glass
        light += drawn["glare"] * random.uniform(0.4, 1) * (
            0.8 * np.exp(-far**2 / 2) + 0.2 / (1 + far))
    left, top = random.uniform(-0.2, 0.7 * aspect), random.uniform(-0.2, 0.6)
    right, bottom = left + random.uniform(0.3, 0.8), top + random.uniform(0.3, 0.8)
    lean, soft = random.uniform(-0.3, 0.3), random.uniform(0.004, 0.03)
    u = x + lean * y
    pane = np.ones_like(x)
    for inside in (u - left, right - u, y - top, bottom - y):
        pane *= 1 / (1 + np.exp(-(inside / soft).clip(-40, 40)))
    bar = np.exp(-(((u - (left + right) / 2) / 0.012) ** 2).clip(0, 40))  # between its panes
    return light + drawn["window"] * pane * (1 - 0.8 * bar)


def _room(x: np.ndarray, y: np.ndarray, foot: float, aspect: float, drawn: dict[str, float],
          random: np.random.Generator) -> np.ndarray:
    """Light of the wall, what hangs on it, a desk and the foot of the monitor."""
    slope = random.uniform(-0.25, 0.25, 2)
    wall = drawn["wall"] * (1 + slope[0] * (x / aspect - 0.5) + slope[1] * (y - 0.5)).clip(0.3, 2)
    room = wall
    for _ in range(int(drawn["clutter"])):
        middle = random.uniform(-0.8, aspect + 0.8), random.uniform(-0.6, 1.6)
        size = random.uniform(0.05, 0.35, 2)
        there = (abs(x - middle[0]) < size[0]) & (abs(y - middle[1]) < size[1])
        room = np.where(there, wall * random.uniform(0.35, 1.6), room)
    if random.random() < 0.5:
        room = np.where(y > foot + random.uniform(0.03, 0.3), random.uniform(0.4, 1.3) * wall,
                        room)
    if random.random() < 0.5:
        width = random.uniform(0.06, 0.2)
        stand = (abs(x - aspect / 2) < width + 0.1 * (y - 1)) & (y > 0.5)
        room = np.where(stand, drawn["frame"] * random.uniform(0.8, 2), room)
    return room


def _blurred(scene: np.ndarray, drawn: dict[str, float], width: int,
             random: np.random.Generator) -> np.ndarray:
    """Out of focus, and moved along a straight line."""
    # at least so much that borders are no stairs
    sigma = max(0.4, drawn["blur"] * width / 1000)
    blurred = ndimage.gaussian_filter(scene.astype(np.float32), sigma)
    length = drawn["motion"] * width / 1000
    angle = random.uniform(0, np.pi)
    if length < 0.5:
        return blurred
    steps = np.linspace(-0.5, 0.5, int(np.ceil(length)) + 2) * length
    return np.mean([ndimage.shift(blurred, (step * np.sin(angle), step * np.cos(angle)), order=1,
                                  mode="nearest") for step in steps], 0)


def _pixels(columns: np.ndarray, rows: np.ndarray, contrast: np.ndarray) -> np.ndarray:
    """The monitor's pixels as the camera's sample them, (height, width, 3), of mean 1.

    Red, green and blue lie beside each other, so their stripes are shifted: moire is coloured.
    """
    down = np.cos(2 * np.pi * rows)[..., None]
    across = np.cos(2 * np.pi * (columns[..., None] + COLOR_SHIFTS))
    return 1 + contrast[..., None].astype(np.float32) * (across + 0.6 * down)


def _developed(scene: np.ndarray, drawn: dict[str, float], random: np.random.Generator,
               ) -> np.ndarray:
    """From light (height, width, 3) to the values of a JPEG file, uint8."""
    from PIL import Image

    height, width = scene.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    far = np.hypot(rows / height - 0.5, columns / width - 0.5) / np.sqrt(0.5)
    light = scene * (1 - drawn["vignetting"] * far**2)[..., None] / drawn["exposure"]
    light = light.astype(np.float32) * np.array([drawn["red"], 1, drawn["blue"]], np.float32)
    light = light + drawn["noise"] * np.sqrt(light.clip(0) + 0.02) * random.standard_normal(
        light.shape, np.float32)
    value = light.clip(0, 1) ** (1 / 2.2)
    value += drawn["contrast"] * (value**2 * (3 - 2 * value) - value)
    file = io.BytesIO()
    Image.fromarray(np.rint(255 * value).astype(np.uint8)).save(
        file, "JPEG", quality=round(drawn["quality"]))
    return np.asarray(Image.open(file))
