# SPDX-License-Identifier: Apache-2.0
"""How much a DICOM node takes: ``python Testing/Benchmarks/listen_load.py --studies 200``.

Toy heads are sent over several associations at a time, some of them broken off and repeated, by
processes of their own, to a node in a process of its own. Printed are images and studies a minute,
and the largest memory of node and worker (Linux). Run it from the top of the checkout.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).parents[2]))

CONFIG = """
[node]
ae_title = "READINGROOM"
host = "127.0.0.1"
port = 0
model = "{model}"
data = "data"
[[peers]]
ae_title = "SCANNER"
address = "127.0.0.1"
[complete]
silence_seconds = 30
after_release_seconds = 0.5
[limits]
objects_per_minute = 1000000
free_gigabytes = 0.1
[status]
port = 0
"""


def _bring(port: int, number: int, broken_share: float) -> int:
    """Send a study, some of them in two attempts; returns the number of images."""
    from Testing.Core.listen_factory import head_series, send

    head = head_series()
    if number % 100 < 100 * broken_share:
        send(port, head[:7], abort=True)
    send(port, head)
    return len(head)


def _warm(number: int) -> None:
    """Import, and make the toy head, before the clock runs."""
    from Testing.Core.listen_factory import head_series

    head_series()


def _memory(pid: int) -> float:
    """Largest memory that a process has had, MB (Linux)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024


def _worker(pid: int) -> int:
    return next(int(child) for task in Path(f"/proc/{pid}/task").iterdir()
                for child in (task / "children").read_text().split())


def main(
    studies: Annotated[int, typer.Option(help="How many.")] = 200,
    senders: Annotated[int, typer.Option(help="Associations at a time.")] = 5,
    broken: Annotated[float, typer.Option(help="Share of studies that break off first.")] = 0.1,
    model: Annotated[Path | None, typer.Option(
        help="Folder of an exported model; by default a toy.")] = None,
) -> None:
    """Load a node and print what it did."""
    from Testing.Core.listen_factory import until, write_model

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = model.resolve() if model else write_model(folder / "model")
        (folder / "node.toml").write_text(CONFIG.format(model=chosen.as_posix()), "utf-8")
        with open(folder / "log.txt", "wb") as log:
            node = subprocess.Popen([sys.executable, "-m", "HeadCTTriageLib", "listen",
                                     str(folder / "node.toml")], stderr=log)
        try:
            port, page = map(int, until(lambda: re.search(
                r"on port (\d+), status page on port (\d+)",
                (folder / "log.txt").read_text("utf-8")), 120).groups())

            def status() -> dict:
                with urllib.request.urlopen(f"http://127.0.0.1:{page}/status.json") as answer:
                    return json.load(answer)

            with ProcessPoolExecutor(
                    senders, mp_context=multiprocessing.get_context("spawn")) as pool:
                list(pool.map(_warm, range(senders)))
                began = time.perf_counter()
                sent = sum(pool.map(_bring, studies * [port], range(studies),
                                    studies * [broken]))
            received = time.perf_counter() - began
            until(lambda: status()["states"]["judged"] >= studies, 3600)
            judged = time.perf_counter() - began
            states = {key: count for key, count in status()["states"].items() if count}
            print(json.dumps({
                "studies": studies, "images": sent, "states": states,
                "images_per_minute": round(60 * sent / received),
                "studies_per_minute": round(60 * studies / judged, 1),
                "node_megabytes": round(_memory(node.pid)),
                "worker_megabytes": round(_memory(_worker(node.pid)))}, indent=1))
        finally:
            node.terminate()
            node.wait(30)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"processor: {used.ru_utime + used.ru_stime:.0f} s")


if __name__ == "__main__":
    typer.run(main)
