# SPDX-License-Identifier: Apache-2.0
"""What a tissue's water looks like in an MRI sequence, and what a scanner's protocols are.

The signal equations are those of spin echo and spoiled gradient echo (Bernstein, King, Zhou,
*Handbook of MRI Pulse Sequences*, 2004); relaxation times about as Stanisz et al. (Magn Reson Med
2005) and Bojorquez et al. (Magn Reson Imaging 2017) give them; relaxivity of contrast agent as
Rohrer et al. (Invest Radiol 2005).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from .randomness import Randomness

RELAXIVITY = (4.5, 5.5)  # of the agent, 1/(mM s): what shortens T1 and T2


@dataclass(frozen=True)
class Tissue:
    """What a tissue's signal comes from.

    Attributes:
        water: proton density, of free water 1.
        t1: ms, at 1.5 and at 3 T.
        t2: ms.
    """

    water: float
    t1: tuple[float, float]
    t2: float

    def varied(self, random: Randomness, share: float = 0.04) -> Tissue:
        """The tissue of one person; ``share`` is the largest deviation of each value."""
        def scale() -> float:
            return 1 + random.uniform(-share, share)
        t1 = scale()
        return Tissue(self.water * scale(), (self.t1[0] * t1, self.t1[1] * t1), self.t2 * scale())


TISSUES: Mapping[str, Tissue] = MappingProxyType({
    "fluid": Tissue(1.0, (4000, 4200), 1600),
    "grey": Tissue(0.81, (1000, 1350), 92),
    "white": Tissue(0.70, (620, 850), 76),
    "dark": Tissue(0.04, (300, 400), 15),  # cortical bone, air, flow void
    "soft": Tissue(0.76, (950, 1250), 40),  # muscle, skin
    "fat": Tissue(0.85, (260, 330), 95),  # as trains of echoes show it
    "blood": Tissue(0.80, (1350, 1650), 120),
    "mucosa": Tissue(0.85, (1150, 1450), 130),
    "oedema": Tissue(0.90, (1250, 1550), 175),
    "gliosis": Tissue(0.85, (1000, 1250), 140),  # white matter lesions of age
    "calcium": Tissue(0.15, (900, 1000), 25),
    "haemorrhage": Tissue(0.88, (380, 450), 85),  # methaemoglobin
})


@dataclass(frozen=True)
class Protocol:
    """How one series is acquired.

    Attributes:
        kind: ``spin echo`` (also fast) or ``gradient echo`` (spoiled).
        repetition, echo: times, ms.
        flip: angle, degrees; of gradient echoes.
        pixel: mm.
        thickness, spacing: of slices, mm; the rest of the spacing is gap.
        field_of_view: mm, along rows and columns.
        coverage: mm, along the slices.
    """

    kind: str
    repetition: float
    echo: float
    flip: float
    pixel: float
    thickness: float
    spacing: float
    field_of_view: tuple[float, float]
    coverage: float


def signal(tissue: Tissue, protocol: Protocol, tesla: float,
           agent: float | np.ndarray = 0.0) -> np.ndarray:
    """Signal of a tissue, 0 to 1, with ``agent`` mM of contrast agent in it."""
    share = np.clip((tesla - 1.5) / 1.5, 0, 1)
    rate1 = 1000 / (tissue.t1[0] + share * (tissue.t1[1] - tissue.t1[0])) + RELAXIVITY[0] * agent
    rate2 = 1000 / tissue.t2 + RELAXIVITY[1] * agent
    rest = np.exp(-protocol.repetition / 1000 * rate1)
    decay = np.exp(-protocol.echo / 1000 * rate2)
    if protocol.kind == "spin echo":
        return tissue.water * (1 - rest) * decay
    angle = np.radians(protocol.flip)
    return tissue.water * np.sin(angle) * (1 - rest) / (1 - np.cos(angle) * rest) * decay


@dataclass(frozen=True)
class Scanner:
    """A scanner with its protocols, as one site has it.

    Attributes:
        name: of the site.
        tesla: 1.5 or 3.
        protocols: by sequence: t1, t2, t1c.
        bias: standard deviation of the logarithm of the receive field.
        noise: standard deviation, against the signal of white matter.
        gain: signal of white matter in the T1, as stored.
        blur: of the reconstruction, pixels.
        tilt: usual one of axial slices, degrees: the front is higher above 0.
        agent: how strongly the site's dose and delay enhance; usually 1.
    """

    name: str
    tesla: float
    protocols: Mapping[str, Protocol]
    bias: float
    noise: float
    gain: float
    blur: float
    tilt: float
    agent: float


def scanner(site: str) -> Scanner:
    """The scanner of a site; the same name is always the same scanner, another name another."""
    random = Randomness(zlib.crc32(site.encode()), 5)
    tesla = 3.0 if random.chance(0.45) else 1.5
    pixel = random.uniform(0.85, 1.1)
    fields = {"field_of_view": (random.uniform(220, 245), random.uniform(190, 225)),
              "coverage": random.uniform(132, 150)}
    thickness = random.uniform(3.0, 6.0)
    slices = {"pixel": pixel, "thickness": thickness,
              "spacing": thickness * (1 + random.uniform(0.0, 0.3)), **fields}
    if random.chance(0.3):
        t1 = Protocol("gradient echo", random.uniform(150, 250), random.uniform(2.5, 4.8),
                      random.uniform(70, 85), **slices)
    else:
        t1 = Protocol("spin echo", random.uniform(420, 650), random.uniform(8, 15), 90, **slices)
    t2 = Protocol("spin echo", random.uniform(3200, 6000), random.uniform(82, 112), 90,
                  **{**slices, "pixel": pixel * random.uniform(0.85, 1.0)})
    t1c = t1
    if random.chance(0.35):  # three-dimensional
        thin = random.uniform(1.2, 2.0)
        t1c = Protocol("gradient echo", random.uniform(7, 12), random.uniform(2.5, 4.5),
                       random.uniform(15, 25), random.uniform(0.95, 1.1), thin, thin, **fields)
    return Scanner(site, tesla, MappingProxyType({"t1": t1, "t2": t2, "t1c": t1c}),
                   bias=random.uniform(0.03, 0.12) * (1.4 if tesla > 2 else 1.0),
                   noise=random.uniform(0.012, 0.045), gain=random.uniform(180, 1200),
                   blur=random.uniform(0.3, 0.6), tilt=random.uniform(-4, 14),
                   agent=random.uniform(0.85, 1.2))
