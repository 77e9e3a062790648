# SPDX-License-Identifier: Apache-2.0
"""Python modules which only the desktop has, installed under the names they have there."""
