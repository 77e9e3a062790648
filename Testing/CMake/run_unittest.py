# SPDX-License-Identifier: Apache-2.0
"""What ctest runs in place of ``Slicer --testing --python-code slicer.testing.runUnitTest(...)``.

Usage: ``run_unittest.py NAME FLAT_FOLDER SOURCE_FOLDER``. The modules of the extension are loaded
from the flat folder, as Slicer loads an installed extension, and the test classes of the script
NAME are run. Nothing of the checkout is on the path but the host and the script's own folder.
"""

from __future__ import annotations

import importlib
import os
import sys
import unittest
from pathlib import Path

HOST = Path(__file__).resolve().parents[1] / "Host"


def main(name: str, flat_folder: str, source_folder: str) -> int:
    """Run the test classes of a script; return how the program should exit."""
    sys.path[:0] = [flat_folder, str(HOST)]
    sys.path.append(source_folder)
    os.environ["PYTHONPATH"] = flat_folder
    import slicerhost

    slicerhost.start(testing=True)
    modules = sorted(Path(flat_folder).glob("*.py"))
    # A hidden module that others lean on comes first, as Slicer orders them by dependency.
    for file in sorted(modules, key=lambda path: path.stem != "ReadingRoomCore"):
        slicerhost.load_module(file.stem, file, panel=False)
    module = importlib.import_module(name)
    if Path(flat_folder, f"{name}.py").exists():
        assert Path(module.__file__).parent == Path(flat_folder), module.__file__
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    slicerhost.stop()
    return 0 if result.wasSuccessful() and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
