# SPDX-License-Identifier: Apache-2.0
"""Picture for Docs/HeadCTTriage.md: ``python -m demo.head_ct_triage FOLDER [MODELS]``.

The module judges its sample, and the worklist shows made-up studies in other states.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import slicerhost
from slicerhost.photo import photograph

WAITING = {"Head A": 25, "Head B": 140, "Head C": 12, "Head D": 65}  # minutes


def main(folder: Path, registry: Path | None = None) -> None:
    """Save HeadCTTriage-panel.png.

    Args:
        folder: for the picture.
        registry: list of models, in place of the module's own.
    """
    slicerhost.start()
    import qt

    with tempfile.TemporaryDirectory() as temporary:
        qt.QSettings().setValue("ReadingRoom/TriageFolder", temporary)
        widget = slicerhost.load_module("HeadCTTriage")
        if registry:
            widget.panel.registryPath = str(registry)
        widget.parent.enter()
        widget.ui.sampleButton.click()
        wait_while(lambda: widget.sampleLoader.running)
        model = widget.panel.model
        if model is None:
            raise RuntimeError(widget.ui.applyButton.toolTip)
        # the folder of a model is understood whatever list it is in
        result = widget.logic.process(
            widget._parameterNode.inputVolume,
            model=str(model.folder) if registry else model.name, wait=True)
        widget.onFinished(result)
        fill_worklist(widget)
        print(photograph("HeadCTTriage", folder / "HeadCTTriage-panel.png"))
        widget.logic.shutdown()
    slicerhost.stop()


def fill_worklist(widget) -> None:
    """The sample's judgement, and what the list shows in other states."""
    from HeadCTTriageLib.worklist import State, Study, new_study

    now = datetime.now(UTC)

    def study(name, **known):
        added = (now - timedelta(minutes=WAITING[name])).isoformat()
        return Study(f"volume:{name}", name, added, **known)

    manifest = widget._shown
    widget.folder.keep([
        new_study("volume:sample", "CTHeadSimulated", now).judged(manifest),
        study("Head A", state=State.JUDGED, tag="green", decision="can wait",
              urgent_probability=0.03),
        study("Head B", state=State.JUDGED, tag="black", decision="urgent",
              urgent_probability=0.99),
        study("Head C"),
        study("Head D", state=State.CONFIRMED, tag="yellow", decision="can wait",
              urgent_probability=0.12, physician_tag="yellow"),
    ])
    widget.worklist.reload()
    widget.worklist.ui.worklistCollapsibleButton.collapsed = False
    # folder and user of this run mean nothing to a reader
    widget.worklist.ui.folderPathLineEdit.currentPath = ""
    widget.ui.readerLineEdit.placeholderText = "anna"


def wait_while(condition) -> None:
    """Let the application work until something is over."""
    import slicer

    while condition():
        slicer.app.processEvents()
        time.sleep(0.02)


if __name__ == "__main__":
    main(*[Path(argument).resolve() for argument in sys.argv[1:]])
