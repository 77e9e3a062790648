# SPDX-License-Identifier: Apache-2.0
"""The sample: a simulated head with fresh blood between skull and brain."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from ReadingRoomLib.phantoms.head import simulate_head
from ReadingRoomLib.phantoms.head_findings import Finding, on_skull
from ReadingRoomLib.phantoms.head_template import HeadTemplate, fetch_head_template
from ReadingRoomLib.results import whole_file

NAME = "CTHeadSimulated.nrrd"
SEED = (18, 16600)


def make(folder: Path) -> Path:
    """Write the sample into a folder, unless it is there; returns its path.

    Args:
        folder: exists; the average head is kept there, too.

    Raises:
        DownloadFailed: the average head cannot be had.
    """
    path = folder / NAME
    if not path.is_file():
        image = simulate(fetch_head_template(folder))
        with whole_file(path) as unfinished:
            sitk.WriteImage(image, str(unfinished), useCompression=True)
    return path


def simulate(template: HeadTemplate) -> sitk.Image:
    """The CT of the sample, HU, LPS: fresh subdural blood, 12 mm thick, on the left."""
    blood = Finding("subdural", on_skull(template, (0.35, -0.1, 0.9)), 70.0, 65.0, 12.0)
    return simulate_head(template, (blood,), SEED).image
