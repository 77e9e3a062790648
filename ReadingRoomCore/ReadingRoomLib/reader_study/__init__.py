# SPDX-License-Identifier: Apache-2.0
"""Studies in which several readers read the same cases with and without an aid."""
