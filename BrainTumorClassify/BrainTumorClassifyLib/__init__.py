# SPDX-License-Identifier: Apache-2.0
"""Glioblastoma, lymphoma or meningioma, and how far to trust it."""
