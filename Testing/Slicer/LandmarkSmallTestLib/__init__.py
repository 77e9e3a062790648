# SPDX-License-Identifier: Apache-2.0
"""LandmarkPretrainLib with small networks and with the models of a test."""
