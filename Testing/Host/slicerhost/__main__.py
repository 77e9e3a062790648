# SPDX-License-Identifier: Apache-2.0
"""Command line of the host: photograph a panel, run a module's self test."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback

import slicerhost
from slicerhost.libraries import MissingLibrary


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 the self test failed, 2 a system library is missing."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except MissingLibrary as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        slicerhost.stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m slicerhost", description=__doc__)
    commands = parser.add_subparsers(required=True)
    photo = commands.add_parser("photo", help="save a picture of a module's panel")
    photo.add_argument("module", help="name of the module")
    photo.add_argument("picture", help="PNG file to write")
    photo.add_argument("--width", type=int, default=500, help="width in pixels (default 500)")
    photo.add_argument("--scene", help="scene (.mrb, .mrml) to load first")
    photo.set_defaults(run=_photo)
    test = commands.add_parser("test", help="run a module's self test")
    test.add_argument("module", help="name of the module")
    test.set_defaults(run=_test)
    for command in (photo, test):
        command.add_argument("--file", help="the module's file, if it is not of this extension")
    return parser


def _photo(options) -> int:
    from slicerhost.photo import photograph

    slicerhost.start()
    slicerhost.load_module(options.module, options.file)
    if options.scene:
        import slicer

        slicer.util.loadScene(os.path.abspath(options.scene))
    print(photograph(options.module, options.picture, options.width))
    return 0


def _test(options) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    slicerhost.start()
    slicerhost.load_module(options.module, options.file)
    import slicer

    try:
        slicer.selfTests[options.module]()
    except Exception:
        traceback.print_exc()
        print(f"{options.module}: self test failed", file=sys.stderr)
        return 1
    print(f"{options.module}: self test passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
