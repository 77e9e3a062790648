# SPDX-License-Identifier: Apache-2.0
"""The module's own command line, with few and coarse slices, so that it is quick.

``TRIAGE_TEST_REGISTRY`` names the list of models.
"""

import os
from dataclasses import replace
from pathlib import Path

from HeadCTTriageLib import answers, certainty, engines
from HeadCTTriageLib.__main__ import app

modern = answers.RECIPES["modern"]
answers.RECIPES["modern"] = replace(
    modern, sampling=replace(modern.sampling, slices=12, pixels=96))
certainty.LEAST_HEADS = 2  # few heads are quick to learn from
engines.REGISTRY = Path(os.environ["TRIAGE_TEST_REGISTRY"])

if __name__ == "__main__":
    app()
