# SPDX-License-Identifier: Apache-2.0
"""The parts of the panel of HeadCTTriage that are its own: the judgement and the worklist."""
