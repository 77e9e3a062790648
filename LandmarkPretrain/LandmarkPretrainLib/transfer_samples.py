# SPDX-License-Identifier: Apache-2.0
"""Patches of lesions and of normal places of all cases, made once and kept in the work folder.

In a training case each lesion is shown several times, shifted a little, because a candidate never
lies on the centre; all patches of training cases are turned and scaled a little. In a test case it
is shown once, as it is.
What is normal are false candidates and other places of the region, half of each where there are
enough. The candidates of test cases are kept, too: those are what the free-response curve is of.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.devices import available_cores
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.results import whole_file

from .arms import CUBE_PIXELS
from .augmentation import UNCHANGED, Augmentation, turns
from .landmark_cases import read_volume
from .lesion_sets import LesionCase, LesionSet, check_inside
from .patches import PIXELS, PatchExtractor
from .preparation import prepared
from .prepared_cases import files_of
from .region import place_of

FORMAT = 1
MOST_AT_ONCE = 4  # cases: each needs some hundred megabytes
VARIED = Augmentation(rotation=18.0, scale=(0.9, 1.1))
NO_LESION = -1
_READING = threading.Lock()  # readers silence the warnings of the whole process meanwhile


@dataclass(frozen=True)
class SampleSettings:
    """Which patches are taken.

    Attributes:
        modality: CT, MR or other.
        region: in which candidates are looked for.
        sizes_mm: side of the patches; several where a network looks at several at once.
        normals: normal places in each case.
        copies: of each lesion in a training case, besides itself.
        shift: of copies, largest along each axis, in parts of the (smallest) patch.
        seed: of all that is drawn.
    """

    modality: str
    region: str
    sizes_mm: tuple[float, ...]
    normals: int = 20
    copies: int = 5
    shift: float = 0.08
    seed: int = 0

    @property
    def spacing_mm(self) -> float:
        """Of the voxels that patches are taken from: as fine as their pixels."""
        return min(self.sizes_mm) / PIXELS


@dataclass(frozen=True)
class Places:
    """Where to look in a case.

    Attributes:
        candidates: (n, 3) LPS mm.
        lesion_of: number of the lesion that each candidate lies on, -1 for none, (n,).
        normals: further normal places of the region, (m, 3); no lesion is near them.
    """

    candidates: np.ndarray
    lesion_of: np.ndarray
    normals: np.ndarray


Finder = Callable[[sitk.Image, LesionCase, SampleSettings, int], Places]
"""Gets the image as it was read, its case, the settings and a seed."""


@dataclass(frozen=True)
class Samples:
    """All patches of a set.

    Attributes:
        patches: (n, channels, pixels, pixels), float16.
        points: their centres, (n, 3) LPS mm.
        turns: matrices by which they are turned and scaled, (n, 3, 3).
        case: number of the case, training cases first, (n,).
        lesion: whether a patch is of a lesion, (n,).
        used: whether it is learned from or tested on; the others are candidates only, (n,).
        candidate: of a test case, (n,).
        lesion_of: of a candidate: the number of the lesion that it lies on in its case, (n,).
        cases: all of the set.
        training_cases: how many of them are learned from; the others are tested on.
        fingerprint: of all that the patches depend on.
    """

    patches: np.ndarray
    points: np.ndarray
    turns: np.ndarray
    case: np.ndarray
    lesion: np.ndarray
    used: np.ndarray
    candidate: np.ndarray
    lesion_of: np.ndarray
    cases: tuple[LesionCase, ...]
    training_cases: int
    fingerprint: str

    @property
    def test(self) -> np.ndarray:
        """Whether a patch is of a test case, (n,)."""
        return self.case >= self.training_cases

    def patients(self, test: bool) -> np.ndarray:
        """Number of the patient of each case of a part, (cases,), in the part's own numbers."""
        part = self.cases[self.training_cases:] if test else self.cases[:self.training_cases]
        return np.unique([case.patient for case in part], return_inverse=True)[1]

    @property
    def patient(self) -> np.ndarray:
        """Number of the patient of each patch among those of its part, (n,)."""
        return np.concatenate([self.patients(False), self.patients(True)])[self.case]


def gather(found: LesionSet, settings: SampleSettings, find: Finder, folder: Path,
           on_case: Callable[[float], None] = lambda done: None,
           warn: Callable[[str], None] = lambda sentence: None) -> Samples:
    """Take the patches of all cases, or those that were taken before.

    Args:
        found: the cases.
        settings: which patches.
        find: says where to look.
        folder: of the work; keeps a file for each case.
        on_case: called with the number of cases done.
        warn: gets what is worth knowing.

    Raises:
        BadInput: an image cannot be used, or lesions lie outside it.
    """
    cases = (*found.training, *found.test)
    keys = [_key(case, number, number < len(found.training), settings)
            for number, case in enumerate(cases)]
    folder.mkdir(parents=True, exist_ok=True)

    def kept(number: int) -> dict[str, np.ndarray]:
        path = folder / f"patches-{keys[number][:16]}.npz"
        if not path.exists():
            taken = _take(cases[number], number < len(found.training), settings, find,
                          [settings.seed, number])
            with whole_file(path) as unfinished, open(unfinished, "wb") as file:
                np.savez(file, **taken)
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    parts = _each(kept, len(cases), on_case)
    missed = sum(int(part["unreached"]) for part in parts[len(found.training):])
    if missed:
        of = sum(len(case.lesions) for case in found.test)
        warn(f"{missed} of {of} lesions of the test cases have no candidate on them, so no "
             "detector finds them: the free-response curves end below 1.")
    owners = np.repeat(np.arange(len(cases)), [len(part["points"]) for part in parts])
    joined = {name: np.concatenate([part[name] for part in parts])
              for name in parts[0] if name != "unreached"}
    samples = Samples(**joined, case=owners, cases=cases, training_cases=len(found.training),
                      fingerprint=hashlib.sha256(" ".join(keys).encode()).hexdigest())
    _check_classes(samples)
    return samples


def _each(do: Callable[[int], dict[str, np.ndarray]], count: int,
          on_done: Callable[[float], None]) -> list[dict[str, np.ndarray]]:
    """What is done with each case, some at a time; the first failure ends it."""
    pool = ThreadPoolExecutor(min(MOST_AT_ONCE, available_cores()))
    try:
        waiting = [pool.submit(do, number) for number in range(count)]
        for done, future in enumerate(as_completed(waiting), 1):
            future.result()
            on_done(done)
        return [future.result() for future in waiting]
    finally:
        pool.shutdown(cancel_futures=True)


def _check_classes(samples: Samples) -> None:
    for test, what in ((False, "training"), (True, "test")):
        if not (samples.used & ~samples.lesion & (samples.test == test)).any():
            raise BadInput(f"There is nothing normal in the {what} cases to tell lesions from: no "
                           "candidate and no place of the region lies away from the lesions; "
                           "choose another region.")


def _key(case: LesionCase, number: int, training: bool, settings: SampleSettings) -> str:
    """Changes with anything that the patches of a case depend on; what is drawn, on its number."""
    place = place_of(settings.region, case.image)
    files = files_of(case.image) + (files_of(place) if isinstance(place, Path) else [])
    known = [FORMAT, number, training, asdict(settings),
             [asdict(lesion) for lesion in case.lesions],
             [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()



def _take(case: LesionCase, training: bool, settings: SampleSettings, find: Finder,
          seed: Sequence[int]) -> dict[str, np.ndarray]:
    """Patches of a case, by the names of :class:`Samples`."""
    random = np.random.default_rng([*seed, 0])
    with _READING:
        image = read_volume(case.image, settings.modality).image
    check_inside(case, image)
    places = find(image, case, settings, int(random.integers(2**31)))
    lesions = case.centres
    copies = _copies(lesions, settings, random) if training else np.empty((0, 3))
    normals = _normals(places, settings.normals, random)
    candidates = np.empty((0, 3)) if training else places.candidates
    points = np.concatenate([lesions, copies, normals, candidates])
    counts = [len(lesions), len(copies), len(normals), len(candidates)]
    kind = np.repeat(np.arange(4), counts)
    turned = turns(len(points), VARIED if training else UNCHANGED, random)
    extractor = PatchExtractor(prepared(image, settings.modality, settings.spacing_mm))
    patches = extractor.planes(points, settings.sizes_mm, PIXELS, turned)
    lesion_of = np.full(len(points), NO_LESION)
    if not training:
        lesion_of[kind == 3] = places.lesion_of
    return {"patches": patches.numpy().astype(np.float16), "points": points, "turns": turned,
            "lesion": kind < 2, "used": kind < 3, "candidate": kind == 3, "lesion_of": lesion_of,
            "unreached": np.array(len(lesions) - len(set(places.lesion_of) - {NO_LESION}))}


def _copies(lesions: np.ndarray, settings: SampleSettings,
            random: np.random.Generator) -> np.ndarray:
    most = settings.shift * min(settings.sizes_mm)
    repeated = np.repeat(lesions, settings.copies, axis=0)
    return repeated + random.uniform(-most, most, repeated.shape)


def _normals(places: Places, count: int, random: np.random.Generator) -> np.ndarray:
    """False candidates and other places, half of each, or more of one where the other is short."""
    false = random.permutation(places.candidates[places.lesion_of == NO_LESION])
    others = random.permutation(places.normals)
    of_false = min(len(false), max(count // 2, count - len(others)))
    return np.concatenate([false[:of_false], others[:count - of_false]])


def cube_features(samples: Samples, settings: SampleSettings,
                  features: Callable[[np.ndarray], np.ndarray],
                  on_case: Callable[[float], None] = lambda done: None) -> np.ndarray:
    """Features of cubes about the same points, for networks that see space; (n, d) float32.

    Args:
        samples: whose points.
        settings: the samples' own.
        features: gets cubes (n, 1, p, p, p).
        on_case: called with the number of cases done.
    """
    found = []
    for number, case in enumerate(samples.cases):
        here = samples.case == number
        image = prepared(read_volume(case.image, settings.modality).image, settings.modality,
                         settings.spacing_mm)
        cubes = PatchExtractor(image).cubes(samples.points[here], settings.sizes_mm[:1],
                                            CUBE_PIXELS, samples.turns[here])
        found.append(features(cubes.numpy()))
        on_case(number + 1)
    return np.concatenate(found)
