# SPDX-License-Identifier: Apache-2.0
"""Whether everything the modules import and read was packaged: run by ctest, in Slicer or the host.

Slicer packages only what CMake lists. This test runs where only the packaged folder is on the path,
so a file that was forgotten is missed here and not at a hospital.
"""

import importlib
import json
import unittest
from pathlib import Path

LIGHT_MODULES = [
    "ReadingRoomLib.errors",
    "ReadingRoomLib.models",
    "ReadingRoomLib.progress",
    "ReadingRoomLib.protocol",
    "ReadingRoomSlicerLib.jobs",
    "ReadingRoomSlicerLib.module",
    "ReadingRoomSlicerLib.panel",
    "MuscleSegLib.structures",
]


class PackagingTest(unittest.TestCase):
    def test_what_a_panel_imports_is_packaged(self):
        for name in LIGHT_MODULES:
            with self.subTest(name):
                importlib.import_module(name)

    def test_the_models_are_packaged(self):
        folder = Path(importlib.import_module("MuscleSegLib").__file__).parent
        models = json.loads((folder / "models.json").read_text(encoding="utf-8"))["models"]
        packaged = [model for model in models if "path" in model]
        self.assertIn("starter", [model["name"] for model in packaged])
        for model in packaged:
            with self.subTest(model["name"]):
                self.assertTrue((folder / model["path"] / "models/model.safetensors").is_file())

    def test_the_requirements_are_packaged(self):
        folder = Path(importlib.import_module("ReadingRoomLib").__file__).parents[1]
        self.assertTrue((folder / "Resources" / "requirements.txt").is_file())


if __name__ == "__main__":
    unittest.main()
