# SPDX-License-Identifier: Apache-2.0
"""What changed in the bones since the last CT."""
