# SPDX-License-Identifier: Apache-2.0
"""Files that all modules of the extension share."""

import os


def resourcePath(*parts: str) -> str:
    """Path of a file in the ``Resources`` folder beside this package."""
    core = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return os.path.join(core, "Resources", *parts)
