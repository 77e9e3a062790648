# SPDX-License-Identifier: Apache-2.0
"""The host is tested with its own fixtures."""

from slicerhost.fixtures import *  # noqa: F403
