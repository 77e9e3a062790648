# SPDX-License-Identifier: Apache-2.0
"""Modules, logics and widgets are tested in the host."""

import subprocess
import sys

import pytest

from slicerhost.fixtures import *  # noqa: F403

OPENING = """
import sys, time
import slicerhost
slicerhost.start()
began = time.process_time()
slicerhost.load_module(sys.argv[1])
print(time.process_time() - began)
print(*sorted({name.split(".")[0] for name in sys.modules}))
slicerhost.stop()
"""


@pytest.fixture
def open_alone():
    """Open a module in processes of its own: seconds of the processor, and what was imported.

    The least of three counts, because the other tests that run beside it only add to it.
    """
    def opened(name: str) -> tuple[float, set[str]]:
        seconds, modules = [], set()
        for _ in range(3):
            done = subprocess.run([sys.executable, "-c", OPENING, name], capture_output=True,
                                  text=True, check=True)
            spent, imported = done.stdout.splitlines()[-2:]
            seconds.append(float(spent))
            modules |= set(imported.split())
        return min(seconds), modules

    return opened
