# SPDX-License-Identifier: Apache-2.0
"""Photographs of a reader study for Docs/reader-study.md: ``python -m demo.reader_study FOLDER``.

The cases are empty images and the readers are random numbers: it is about the panel.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import SimpleITK

import slicerhost
from ReadingRoomLib.reader_study.conduct import Mark
from ReadingRoomLib.reader_study.folder import QUALITY, StudyFolder, create_study
from slicerhost.photo import photograph_part

CASES, DISEASED = 24, 12
READERS = ("Ann", "Ben", "Cem")
LESION = (30.0, 40.0, 50.0)  # mm, LPS
FOUND = {"without": 0.6, "with": 0.85}  # share of the lesions


def main(folder: Path) -> None:
    """Save ReaderStudy-reading.png and ReaderStudy-analysis.png."""
    folder = folder.resolve()
    sys.path[:] = [os.path.abspath(entry) for entry in sys.path]
    # a path that is short and says nothing about this computer
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        study = make_study(Path("BoneStudy"))
        read(study, ("Ben", "Cem"), len(study.plan.cases) * 2)
        read(study, ("Ann",), 5)
        slicerhost.start()
        panel = open_panel(study, "Ann")
        show_a_case(panel)
        print(photograph_part(panel.widget, folder / "ReaderStudy-reading.png"))
        panel.cleanup()
        read(study, ("Ann",), len(study.plan.cases) * 2)
        show_analysis(panel)
        print(photograph_part(panel.widget, folder / "ReaderStudy-analysis.png"))
        panel.cleanup()
        slicerhost.stop()


def make_study(folder: Path) -> StudyFolder:
    """Cases with empty images, and the truth beside them."""
    image = SimpleITK.Image((20, 20, 20), SimpleITK.sitkInt16)
    cases = [f"{number:02}" for number in range(CASES)]
    for case in cases:
        (folder / case).mkdir(parents=True)
        for name in ("current", "prior", "z"):
            SimpleITK.WriteImage(image, str(folder / case / f"{name}.nrrd"))
    truth = {case: [{"position": LESION, "radius": 5}] for case in cases[:DISEASED]}
    Path("truth.json").write_text(json.dumps(truth), encoding="utf-8")
    return create_study(folder, READERS)


def read(study: StudyFolder, readers: tuple[str, ...], count: int) -> None:
    """Let readers give so many answers in all, long ago."""
    for reader in readers:
        random = np.random.default_rng(READERS.index(reader))
        log, now = study.log(reader), datetime(2026, 1, 5, 9)
        while (reading := log.next) and len(log.answers) < count:
            now = max(now, log.washout_until() or now) + timedelta(minutes=3)
            is_diseased = int(reading.case) < DISEASED
            marks = []
            if is_diseased and random.random() < FOUND[reading.modality]:
                marks.append(Mark(LESION, int(random.integers(40, 101))))
            if random.random() < 0.25:
                marks.append(Mark((90.0, 90.0, 90.0), int(random.integers(5, 70))))
            quality = QUALITY[min(int(random.geometric(0.7)) - 1, len(QUALITY) - 1)]
            log.add(reading, marks, None, float(random.normal(90, 20)), now, quality)


def open_panel(study: StudyFolder, reader: str):
    """The open section of a reader."""
    from ReadingRoomSlicerLib.reader_study import ReaderStudyPanel

    panel = ReaderStudyPanel()
    panel.ui.readerStudyCollapsibleButton.collapsed = False
    panel.enter()
    panel.ui.studyPathLineEdit.currentPath = str(study.folder)
    panel.ui.readerComboBox.currentIndex = READERS.index(reader)
    return panel


def show_a_case(panel) -> None:
    """The first case with the aid, with two marks."""
    import slicer

    panel.ui.nextButton.click()
    while panel.ui.overlayButton.isHidden():
        panel.ui.qualityComboBox.currentIndex = 0
        panel.ui.doneButton.click()
    marks = slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")[0]
    for position, confidence in (((-10, -20, 30), 35), ((-30, -40, 50), 80)):
        marks.AddControlPointWorld(position)
        panel.ui.confidenceSlider.value = confidence
    panel.ui.qualityComboBox.currentIndex = 1


def show_analysis(panel) -> None:
    """The figures and curves of the whole study."""
    panel.ui.studyPathLineEdit.currentPath = ""
    panel.ui.studyPathLineEdit.currentPath = "BoneStudy"
    panel.ui.analysisCollapsibleButton.collapsed = False
    panel.ui.truthPathLineEdit.currentPath = "truth.json"
    panel.ui.analyseButton.click()
    panel.analysis.runner.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
