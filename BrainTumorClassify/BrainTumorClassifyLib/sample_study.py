# SPDX-License-Identifier: Apache-2.0
"""The sample: the three sequences of a simulated patient with a glioblastoma."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from ReadingRoomLib.phantoms.brain_mri import BrainSettings
from ReadingRoomLib.phantoms.brain_template import fetch_brain_template
from ReadingRoomLib.results import whole_file

from .sequences import SEQUENCES
from .simulated_patients import simulated_patient

NAMES = {"t1": "MRBrainSimulatedT1", "t2": "MRBrainSimulatedT2",
         "t1c": "MRBrainSimulatedT1Contrast"}
KIND, SEED = "glioblastoma", (18, 7629)


def make(folder: Path, sequence: str) -> Path:
    """Write the sample into a folder, unless it is there; returns the path of a sequence.

    Args:
        folder: exists; the average head is kept there, too.
        sequence: of :data:`.sequences.SEQUENCES`.

    Raises:
        DownloadFailed: the average head cannot be had.
    """
    paths = {name: folder / f"{NAMES[name]}.nrrd" for name in SEQUENCES}
    if not all(path.is_file() for path in paths.values()):
        brain = simulated_patient(fetch_brain_template(folder), KIND, SEED, BrainSettings())
        for name, image in brain.images.items():
            with whole_file(paths[name]) as unfinished:
                sitk.WriteImage(image, str(unfinished), useCompression=True)
    return paths[sequence]
