# SPDX-License-Identifier: Apache-2.0
"""What the names of reconstruction kernels tell."""

from __future__ import annotations

import re

SHARP_WORDS = re.compile(r"BONE|EDGE|LUNG|ULTRA|SHARP|INNER EAR|PETROUS")
SHARP_SIEMENS = re.compile(r"^[A-Z][A-Z]?(\d\d)[A-Z]*$")  # H60s, Hr64, J70h: from 55 on
SHARP_CANON = re.compile(r"^FC(3|5|8)\d")  # bone, lung, high resolution
SHARP_PHILIPS = {"D", "E", "L", "YC", "YD", "YE"}


def is_sharp(kernel: str) -> bool:
    """Whether a kernel is one for bone or lung; an unknown one is not."""
    name = kernel.strip().upper()
    siemens = SHARP_SIEMENS.match(name)
    return bool(SHARP_WORDS.search(name) or SHARP_CANON.match(name) or name in SHARP_PHILIPS
                or siemens and int(siemens[1]) >= 55)
