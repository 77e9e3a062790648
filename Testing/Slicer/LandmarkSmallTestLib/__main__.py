# SPDX-License-Identifier: Apache-2.0
"""The module's own command line with few patches in a step, so that it is quick.

``LANDMARK_TEST_REGISTRY`` names the list of models.
"""

import os
from dataclasses import replace
from pathlib import Path

from LandmarkPretrainLib import engines, pretrain_command
from LandmarkPretrainLib.__main__ import app

whole = pretrain_command.Options.built
pretrain_command.Options.built = property(
    lambda options: replace(whole.fget(options), patches=56))
engines.REGISTRY = Path(os.environ["LANDMARK_TEST_REGISTRY"])

if __name__ == "__main__":
    app()
