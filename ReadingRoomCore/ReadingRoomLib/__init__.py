# SPDX-License-Identifier: Apache-2.0
"""The deep-learning core that all ReadingRoom modules share. It never imports Slicer."""

__version__ = "0.1.0"
