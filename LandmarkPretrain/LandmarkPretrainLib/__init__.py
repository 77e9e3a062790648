# SPDX-License-Identifier: Apache-2.0
"""Landmarks first, lesions after: pretraining, detection of landmarks, transfer to lesions."""
