# SPDX-License-Identifier: Apache-2.0
"""The process that judges: ``python -m HeadCTTriageLib.listen.worker MODEL THREADS``.

A process of its own, so that what a damaged image does to a library, or a large one to memory, ends
there. Its first line says which model it has read. Then it reads one request a line,
``{"images": folder, "output": folder}``, and answers each with one (``{"status": "completed"}`` or
a failure). It ends at once when its input does: a node that was killed leaves nobody who judges.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ReadingRoomLib.commands import run_job
from ReadingRoomLib.dicom_findings import read_series
from ReadingRoomLib.errors import BadInput, ReadingRoomError, typed_error
from ReadingRoomLib.images import read_image
from ReadingRoomLib.logs import write_log
from ReadingRoomLib.protocol import decode, exclusive_stdout, failure_message, ready_message
from ReadingRoomLib.results import read_result

from ..contact_sheet import CONTACT_SHEET, draw
from ..exported import ExportedModel, read_exported
from ..judging import Judge
from .reports import REPORT, SHEET, write_reports


def main(model_folder: str, threads: str) -> None:
    """Answer requests until the input ends."""
    warnings.simplefilter("ignore")  # they may quote what stands in a header
    with exclusive_stdout() as channel:
        requests: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=_read, args=(requests,), daemon=True).start()
        try:
            model = read_exported(Path(model_folder))
            judge = model.judge(threads=int(threads))
        except ReadingRoomError as error:
            channel.send(failure_message(error, None))
            return
        channel.send({**ready_message(), "model": model.described()})
        while True:
            channel.send(_answer(judge, model, decode(requests.get())))


def _read(requests: queue.Queue[bytes]) -> None:
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)  # whatever the other thread computes: nobody wants it


def _answer(judge: Judge, model: ExportedModel, request: dict[str, Any]) -> dict[str, Any]:
    try:
        judge_series(judge, model, Path(request["images"]), Path(request["output"]))
        return {"status": "completed"}
    except Exception as error:
        failure = typed_error(error, [request["output"]])
        log = None if isinstance(failure, BadInput) else write_log(error, "HeadCTTriage listen")
        return failure_message(failure, log)


def judge_series(judge: Judge, model: ExportedModel, images: Path, output: Path) -> None:
    """Judge a series into a result folder; one that is there already is left as it is.

    Args:
        judge, model: the same model.
        images: folder with the DICOM series.
        output: result folder, with ``result.json``, the contact sheet, and both as DICOM.

    Raises:
        BadInput: the series is no CT of a head.
        OutputFailed: the result cannot be written.
    """
    from PIL import Image

    if _is_there(output):
        return
    with run_job(module="HeadCTTriage", command="listen", output=output, progress="none",
                 overwrite=True) as job:
        source = read_image(images, "CT")
        for warning in source.warnings:
            job.warn(warning)
        judgement = judge(source.image, age=source.age, kernel=source.kernel)
        draw(judgement, model.description["simulated"], job.folder / CONTACT_SHEET)
        entries = {"model": model.described(), **judgement.written()}
        with Image.open(job.folder / CONTACT_SHEET) as picture:
            write_reports(entries, np.asarray(picture), read_series(images), job.folder)
        job.record(inputs=[{"name": source.name, "sha256": source.sha256}],
                   files={"contact_sheet": CONTACT_SHEET, "report": REPORT, "sheet": SHEET},
                   **entries)


def _is_there(output: Path) -> bool:
    try:
        read_result(output)
    except BadInput:
        return False
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
