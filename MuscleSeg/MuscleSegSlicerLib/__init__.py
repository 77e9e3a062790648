# SPDX-License-Identifier: Apache-2.0
"""The sections of MuscleSeg's panel, and what they put into the scene."""
