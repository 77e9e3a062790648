#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare each module's CMakeLists.txt with the files that exist, and mend it on request.

Slicer packages only what CMake lists: a file that is not listed works in a checkout and is absent
after installation. Run it after adding or removing a file::

    python Testing/CMake/list_files.py           # what is missing, what is listed without existing
    python Testing/CMake/list_files.py --write   # correct the lists in place
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LISTS = ("MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES")
NOT_PACKAGED = {"__pycache__", "Testing", "CMakeLists.txt"}


def module_folders(root: Path = ROOT) -> list[Path]:
    """Return the folders of the scripted modules: those with a CMakeLists.txt that builds one."""
    return sorted(
        path.parent
        for path in root.glob("*/CMakeLists.txt")
        if "slicerMacroBuildScriptedModule" in path.read_text(encoding="utf-8")
    )


def existing_files(module: Path) -> dict[str, set[str]]:
    """Return the files to package by CMake list name, as paths relative to the module folder."""
    files: dict[str, set[str]] = {name: set() for name in LISTS}
    for path in module.rglob("*"):
        relative = path.relative_to(module)
        hidden = any(part.startswith(".") for part in relative.parts)
        if path.is_file() and not hidden and not NOT_PACKAGED.intersection(relative.parts):
            kind = LISTS[0] if path.suffix == ".py" else LISTS[1]
            files[kind].add(relative.as_posix())
    return files


def listed_files(module: Path) -> dict[str, list[str]]:
    """Return what the module's CMakeLists.txt lists, with ``${MODULE_NAME}`` filled in."""
    text = (module / "CMakeLists.txt").read_text(encoding="utf-8")
    text = re.sub(r"#.*", "", text).replace("${MODULE_NAME}", module.name)
    lists = {}
    for name in LISTS:
        found = re.search(rf"set\({name}\s+([^)]*)\)", text)
        lists[name] = found.group(1).split() if found else []
    return lists


def differences(module: Path) -> list[str]:
    """Return one line for each file not listed, listed twice, or listed without existing."""
    lines = []
    existing, listed = existing_files(module), listed_files(module)
    for name in LISTS:
        for file in sorted(existing[name] - set(listed[name])):
            lines.append(f"{module.name}/CMakeLists.txt: {name} lacks {file}")
        for file in sorted(set(listed[name]) - existing[name]):
            lines.append(f"{module.name}/CMakeLists.txt: {name} lists {file}, which does not exist")
        for file in sorted({file for file in listed[name] if listed[name].count(file) > 1}):
            lines.append(f"{module.name}/CMakeLists.txt: {name} lists {file} twice")
    return lines


def write_lists(module: Path) -> None:
    """Replace both lists in the module's CMakeLists.txt by the files that exist."""
    path = module / "CMakeLists.txt"
    text = path.read_text(encoding="utf-8")
    existing = existing_files(module)
    for name in LISTS:
        # The module file leads, then the libraries: the order in which a reader looks for them.
        ordered = sorted(existing[name], key=lambda file: (file.count("/") > 0, file))
        body = "".join(f"  {file}\n" for file in ordered)
        body = re.sub(rf"\b{module.name}\.(py|ui|png)\b", r"${MODULE_NAME}.\1", body)
        text = re.sub(rf"set\({name}\s+[^)]*\)", lambda _, n=name, b=body: f"set({n}\n{b}  )", text)
    path.write_text(text, encoding="utf-8")


def main() -> int:
    """Print the differences of every module, or mend them; return how the program should exit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="correct the lists in place")
    if parser.parse_args().write:
        for module in module_folders():
            write_lists(module)
    lines = [line for module in module_folders() for line in differences(module)]
    print("\n".join(lines) or "Every file is listed.")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
