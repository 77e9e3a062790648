# SPDX-License-Identifier: Apache-2.0
"""The parts of TemporalSubtraction in Slicer that are its own: candidates, result, files."""
