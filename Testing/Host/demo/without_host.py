# SPDX-License-Identifier: Apache-2.0
"""The same files where no panel and no picture can be made, because a system library is missing.

The module's command is run as a researcher would type it, and its result is put into a scene of
Slicer's MRML library, which needs neither Qt nor OpenGL.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ReadingRoomLib.results import read_result

from .sample import Sample
from .steps import step


def run(sample: Sample, samples: int, folder: Path) -> tuple[dict, list, str]:
    """Segment the sample and write every file but the pictures to ``folder``.

    Returns the content of result.json, no pictures, and no reason: the caller knows it.
    """
    with step(2, "Going on without panel and pictures"):
        result = folder / "result"
    with step(3, "Segmenting: this takes longest"):
        command = ["segment", str(sample.path), "--output", str(result)]
        options = ["--samples", str(samples), "--sides"]
        done = subprocess.run([sys.executable, "-m", "MuscleSegLib", *command, *options])
        if done.returncode:
            raise RuntimeError("there is no result")
        manifest = read_result(result)
        for path in result.iterdir():
            path.replace(folder / path.name)
        result.rmdir()
    with step(4, "Writing the files"):
        _write_scene(sample, folder)
    with step(5, "Leaving out the pictures"):
        return manifest, [], ""


def _write_scene(sample: Sample, folder: Path) -> None:
    """Put CT, segmentation and uncertainty into a scene and save it."""
    import slicer

    from ReadingRoomSlicerLib import segmentations, volumes
    from slicerhost.mrml import MRMLCore

    with tempfile.TemporaryDirectory() as temporary:
        core = MRMLCore(Path(temporary))
        slicer.mrmlScene = core.scene
        ct = _add("vtkMRMLScalarVolumeNode", sample.name)
        reader = slicer.vtkMRMLVolumeArchetypeStorageNode()
        reader.SetFileName(str(sample.path))
        if not reader.ReadData(ct):
            raise RuntimeError(f"{sample.path.name} could not be read.")
        ct.CreateDefaultDisplayNodes()
        muscles = _add("vtkMRMLSegmentationNode", f"{sample.name} muscles")
        segmentations.readSegmentation(muscles, str(folder / "segmentation.seg.nrrd"), ct)
        uncertainty = _add("vtkMRMLScalarVolumeNode", f"{sample.name} uncertainty")
        volumes.readVolume(uncertainty, str(folder / "uncertainty.nrrd"))
        volumes.showAsUncertainty(uncertainty, 0.15, 1.0)
        if not core.scene.WriteToMRB(os.fspath(folder / "scene.mrb")):
            raise RuntimeError("The scene could not be saved.")
        slicer.mrmlScene = None
        core.close()


def _add(class_name: str, name: str):
    import slicer

    return slicer.mrmlScene.AddNewNodeByClass(class_name, name)
