# SPDX-License-Identifier: Apache-2.0
"""The parts of the panel of LandmarkPretrain that are its own: points, cases, what came of them."""
