# SPDX-License-Identifier: Apache-2.0
"""Labelled scans that were read once, kept beside a training so that one that goes on has them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ReadingRoomLib.datalists import Pair
from ReadingRoomLib.results import file_sha256, whole_file

from .contrasts import Intensities
from .label_names import NameTable
from .labelled_scans import LabelledScan, Unnamed, read_scan
from .recipes import Recipe

VERSION = 1  # of how scans are read; another one reads them again


@dataclass(frozen=True)
class ScanStore:
    """Reads scans for a training, each once.

    Attributes:
        folder: for what was read.
        recipe, unnamed, names, intensities: as for :func:`.labelled_scans.read_scan`.
    """

    folder: Path
    recipe: Recipe
    unnamed: Unnamed
    names: NameTable
    intensities: Intensities

    def key(self, pair: Pair) -> str:
        """What a scan depends on: both files and how they are read."""
        table = {"makes": {str(value): sorted(map(sorted, sets))
                           for value, sets in self.names.makes.items()},
                 "together": {label: [one.name for one in held]
                              for label, held in self.names.together.items()},
                 "values": {str(value): names for value, names in self.names.values.items()}}
        known = [VERSION, file_sha256(pair.image), file_sha256(pair.companion), self.recipe.name,
                 self.unnamed, self.intensities, table]
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:20]

    def read(self, pair: Pair, key: str, warn: Callable[[str], None]) -> LabelledScan:
        """The scan, whose voxels stay on the disk until they are needed.

        Args:
            pair: scan and segmentation.
            key: from :meth:`key`.
            warn: gets the sentences of reading, also when it was read before.

        Raises:
            BadInput: the scan or its segmentation cannot be used.
        """
        about = self.folder / f"{key}.json"
        if not about.exists():
            self._keep(pair, about, self.folder / key)
        known = json.loads(about.read_text("utf-8"))
        for sentence in known["warnings"]:
            warn(sentence)
        hounsfield, target = (np.load(self.folder / f"{key}-{part}.npy", mmap_mode="r")
                              for part in ("image", "target"))
        return LabelledScan(hounsfield, target, tuple(known["spacing"]), pair.patient,
                            frozenset(known["named"]))

    def _keep(self, pair: Pair, about: Path, stem: Path) -> None:
        warnings: list[str] = []
        scan = read_scan(pair, self.recipe, warnings.append, self.unnamed, self.names,
                         self.intensities)
        self.folder.mkdir(parents=True, exist_ok=True)
        np.save(f"{stem}-image.npy", scan.hounsfield)
        np.save(f"{stem}-target.npy", scan.target)
        with whole_file(about) as unfinished:  # the last, so that it stands for all three
            unfinished.write_text(json.dumps({
                "spacing": scan.spacing, "named": sorted(scan.named), "warnings": warnings}),
                "utf-8")
