# SPDX-License-Identifier: Apache-2.0
"""Simulated anatomy and simulated images with known truth, for training, tests, demo and teaching."""
