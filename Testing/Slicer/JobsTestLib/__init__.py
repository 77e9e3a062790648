# SPDX-License-Identifier: Apache-2.0
"""A module library with quick commands, to test what runs the real ones."""
