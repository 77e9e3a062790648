# SPDX-License-Identifier: Apache-2.0
"""Sample images: fetched or made in a process of their own, kept on this computer, then loaded."""

import os
from dataclasses import dataclass

import qt
import slicer
from slicer.i18n import tr as _

from ReadingRoomLib import models, sampledata

from . import jobs, resources, settings


@dataclass(frozen=True)
class Sample:
    """One sample image.

    name - of the sample, and of the node it is loaded as.
    fileName - in the folder of sample data.
    program - Python that writes the file: its first argument is the folder, it prints the path.
    sha256 - of the file; None where its bytes depend on the version of a library.
    source - where it comes from, as a web address.
    library - which the program needs, beside the core.
    """

    name: str
    fileName: str
    program: str
    sha256: str | None
    source: str
    library: str = "ReadingRoomLib"


EXAMPLE_CT = Sample(
    "CTPelvisExample",
    "CTPelvisExample.nii.gz",
    "import sys; from pathlib import Path; from ReadingRoomLib.sampledata import fetch_example_ct;"
    "print(fetch_example_ct(Path(sys.argv[1])))",
    sampledata.EXAMPLE_CT.sha256,
    "https://github.com/wasserth/TotalSegmentator",
)

SIMULATED_CT = Sample(
    "CTPelvisSimulated",
    "CTPelvisSimulated.nrrd",
    "import sys; from pathlib import Path; import SimpleITK;"
    "from ReadingRoomLib.phantoms.pelvis import simulate_pelvis;"
    "path = Path(sys.argv[1]) / 'CTPelvisSimulated.nrrd';"
    "SimpleITK.WriteImage(simulate_pelvis({}).image, str(path), useCompression=True); print(path)",
    None,
    "https://github.com/ReadingRoom/SlicerReadingRoom",
)


def simulatedPelvis():
    """The hips of the simulated CT as a volume node, for the modules' own tests.

    :raises RuntimeError: when it cannot be made.
    """
    loaded = {}
    loader = SampleLoader()
    loader.load(SIMULATED_CT, lambda node: loaded.update(node=node),
                lambda code, sentence, log: loaded.update(error=sentence))
    loader.wait()
    if "error" in loaded:
        raise RuntimeError(loaded["error"])
    slices = slicer.util.arrayFromVolume(loaded["node"])
    slicer.util.updateVolumeFromArray(loaded["node"], slices[len(slices) // 4:-len(slices) // 4])
    return loaded["node"]


def folder() -> str:
    """Where sample images are kept."""
    path = os.path.join(settings.modelFolder() or str(models.cache_folder()), "samples")
    os.makedirs(path, exist_ok=True)
    return path


def register(category: str, title: str, *samples) -> None:
    """Offer samples in the Sample Data module."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataCategory(category, title=title)
    for sample in samples:
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=category,
            sampleName=sample.name,
            uris=sample.source,
            fileNames=sample.fileName,
            nodeNames=sample.name,
            thumbnailFileName=resources.resourcePath("Icons", f"{sample.name}.png"),
            checksums=f"SHA256:{sample.sha256}" if sample.sha256 else None,
            customDownloader=lambda source, sample=sample: _loadAndReport(sample),
        )


def _loadAndReport(sample) -> None:
    """Load a sample for the Sample Data module, which waits for it."""
    loader = SampleLoader()
    loader.load(sample, lambda node: slicer.util.setSliceViewerLayers(background=node, fit=True),
                lambda code, sentence, log: slicer.util.errorDisplay(sentence, detailedText=log))
    loader.wait()


class SampleLoader:
    """Loads one sample at a time, without blocking Slicer."""

    def __init__(self) -> None:
        self._process = None
        self._sample = None
        self._onLoaded = None
        self._onFailed = None

    @property
    def running(self) -> bool:
        """Whether a sample is on its way."""
        return self._process is not None

    def load(self, sample, onLoaded, onFailed) -> None:
        """Fetch or make a sample and load it.

        :param onLoaded: called with the volume node.
        :param onFailed: called with code, sentence and log text.
        :raises RuntimeError: when a sample is on its way already, or PythonSlicer is not found.
        """
        if self.running:
            raise RuntimeError(_("A sample is being loaded already."))
        self._sample, self._onLoaded, self._onFailed = sample, onLoaded, onFailed
        process = qt.QProcess()
        process.setProcessEnvironment(jobs.environment(sample.library))
        process.connect("finished(int,QProcess::ExitStatus)", self._onFinished)
        self._process = process
        process.start(jobs.pythonExecutable(), ["-c", sample.program, folder()])

    def cancel(self) -> None:
        """Stop loading; ``onFailed`` is called (CANCELLED)."""
        if self.running:
            process, self._process = self._process, None
            process.blockSignals(True)
            jobs.endProcess(process)
            self._onFailed("CANCELLED", _("Loading the sample was cancelled."), "")

    def wait(self) -> None:
        """Return when the sample is loaded, or not; Slicer's windows stay alive meanwhile."""
        while self.running:
            slicer.app.processEvents()
            if self.running:
                self._process.waitForFinished(20)

    def _onFinished(self, exitCode=0, exitStatus=0) -> None:
        if not self.running:
            return
        process, self._process = self._process, None
        printed = process.readAllStandardOutput().data().decode("utf-8", "replace").split("\n")
        log = process.readAllStandardError().data().decode("utf-8", "replace").strip()
        process.deleteLater()
        path = printed[-2].strip() if len(printed) > 1 else ""
        if not os.path.isfile(path):
            self._onFailed("DOWNLOAD_FAILED", _sentenceOf(log), log)
            return
        node = slicer.util.loadVolume(path, {"name": self._sample.name})
        self._onLoaded(node)


def _sentenceOf(log: str) -> str:
    """The sentence of the exception at the end of a traceback."""
    lines = [line for line in log.split("\n") if line.strip()]
    sentence = lines[-1].split(": ", 1)[-1] if lines else ""
    return sentence or _("The sample could not be loaded.")
