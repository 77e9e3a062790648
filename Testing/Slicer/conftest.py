# SPDX-License-Identifier: Apache-2.0
"""Modules, logics and widgets are tested in the host."""

from slicerhost.fixtures import *  # noqa: F403
