# SPDX-License-Identifier: Apache-2.0
"""What holds for every test, and for the programs that tests start."""

import os
import signal
from pathlib import Path

# Programs that tests start find the sources, also where pytest is called without `make test`.
ROOT = Path(__file__).resolve().parents[1]
SOURCES = [str(ROOT / name) for name in ("ReadingRoomCore", "MuscleSeg", "Testing/Host")]
os.environ["PYTHONPATH"] = os.pathsep.join([*SOURCES, os.environ.get("PYTHONPATH", "")]).strip(
    os.pathsep)

# A test run in the background (``make test &``, nohup, a job of a scheduler) ignores Ctrl-C, and so
# would everything it starts; the tests of cancelling send it: an interrupt must reach them.
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    number = getattr(signal, name, None)
    if number is not None and signal.getsignal(number) == signal.SIG_IGN:
        default = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
        signal.signal(number, default)
