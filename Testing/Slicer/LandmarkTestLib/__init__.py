# SPDX-License-Identifier: Apache-2.0
"""LandmarkPretrainLib without the hours: its results, written as its commands write them."""
