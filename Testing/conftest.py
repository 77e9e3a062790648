# SPDX-License-Identifier: Apache-2.0
"""What holds for every test: an interrupt reaches the programs that tests start.

A test run in the background (``make test &``, nohup, a job of a scheduler) ignores Ctrl-C, and so
would everything it starts; the tests of cancelling send it.
"""

import signal

for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    number = getattr(signal, name, None)
    if number is not None and signal.getsignal(number) == signal.SIG_IGN:
        default = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
        signal.signal(number, default)
