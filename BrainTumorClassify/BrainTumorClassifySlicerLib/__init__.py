# SPDX-License-Identifier: Apache-2.0
"""The parts of the panel of BrainTumorClassify that are its own: the region, the answer."""
