# SPDX-License-Identifier: Apache-2.0
"""The glue between 3D Slicer and the core: scene, processes, packages, panels. Imports nothing."""
