# SPDX-License-Identifier: Apache-2.0
"""Which head CT cannot wait."""
