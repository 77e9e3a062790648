# SPDX-License-Identifier: Apache-2.0
"""What holds for every test, and for the programs that tests start."""

import os
import signal


def pytest_configure(config):
    """Programs that tests start find the sources too, also without `make test`."""
    sources = [str(path) for path in config.getini("pythonpath")]
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [*sources, os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    # as at a user's, only the first of them compiles the sources
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


# A test run in the background (``make test &``, nohup, a job of a scheduler) ignores Ctrl-C, and so
# would everything it starts; the tests of cancelling send it: an interrupt must reach them.
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    number = getattr(signal, name, None)
    if number is not None and signal.getsignal(number) == signal.SIG_IGN:
        default = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
        signal.signal(number, default)
