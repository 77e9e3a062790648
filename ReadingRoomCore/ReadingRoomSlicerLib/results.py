# SPDX-License-Identifier: Apache-2.0
"""Nodes that hold a result, and the folder it is exported to."""

import json
import os

import slicer


def nodeFor(className: str, name: str, previous=None):
    """The node to put a part of a result into.

    :param previous: node of an earlier result. It is used again when it is still in the scene
      under the name it was given; a user who renamed it wants to keep it.
    """
    if previous and previous.GetScene() and previous.GetName() == name:
        return previous
    return slicer.mrmlScene.AddNewNodeByClass(
        className, slicer.mrmlScene.GenerateUniqueName(name))


def fileName(node) -> str:
    """A node's name as the name of a file; empty when nothing is left of it."""
    name = "".join(c if c.isalnum() or c in " -_." else "_" for c in node.GetName())
    return name[:80].strip(" .")


def makeFolder(node, folder: str) -> str:
    """Make a folder named after a node, in another one.

    :raises FileExistsError: when it is there.
    """
    target = os.path.join(folder, fileName(node) or "result")
    os.makedirs(target)
    return target


def keepManifest(textNode, manifest: dict) -> None:
    """Put into a text node what was run; the content of ``result.json``."""
    textNode.SetText(json.dumps(
        {key: value for key, value in manifest.items() if key not in ("id", "folder")}, indent=2))


def manifestOf(textNode) -> dict:
    """What was run, from a text node or None; empty where it is not known."""
    return json.loads(textNode.GetText() or "{}") if textNode else {}


def writeManifest(textNode, path: str) -> None:
    """Write ``result.json``; an empty one where it is not known what was run."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(textNode.GetText() if textNode else "{}")
