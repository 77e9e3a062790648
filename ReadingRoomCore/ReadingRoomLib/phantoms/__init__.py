# SPDX-License-Identifier: Apache-2.0
"""Simulated anatomy and images with known truth, for training, tests, demo and teaching."""
