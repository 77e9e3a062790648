# SPDX-License-Identifier: Apache-2.0
"""A quick stand-in for TemporalSubtractionLib, to test the panel above it."""
