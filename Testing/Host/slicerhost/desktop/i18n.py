# SPDX-License-Identifier: Apache-2.0
"""``slicer.i18n``: texts of scripted modules, here always in English."""

import inspect
import os

FILEPATH_TO_CONTEXT = {}


def translate(context, text):
    """The text in the application's language."""
    from slicer import app

    return app.translate(context, text)


def getContext(sourceFile):
    """Translation context of a source file: ``Package.File`` in a package, else ``File``."""
    if sourceFile not in FILEPATH_TO_CONTEXT:
        folder, name = os.path.split(sourceFile)
        context = os.path.splitext(name)[0] if os.path.isfile(sourceFile) else name
        if os.path.isfile(os.path.join(folder, "__init__.py")):
            context = f"{os.path.basename(folder)}.{context}"
        FILEPATH_TO_CONTEXT[sourceFile] = context
    return FILEPATH_TO_CONTEXT[sourceFile]


def tr(text):
    """The text in the application's language; its context is the file of the caller."""
    caller = inspect.currentframe().f_back
    return translate(getContext(inspect.getsourcefile(caller) or inspect.getfile(caller)), text)
