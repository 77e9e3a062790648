# SPDX-License-Identifier: Apache-2.0
"""What the sections of the panel have in common."""

import qt


def purpose(sentence: str):
    """A label that says what a section is for."""
    label = qt.QLabel(sentence)
    label.wordWrap = True
    return label


def rememberApart(pathLineEdit, settingKey: str) -> None:
    """Offer the paths that were chosen here before, not those of all sections that train."""
    pathLineEdit.currentPath = ""
    pathLineEdit.settingKey = settingKey
