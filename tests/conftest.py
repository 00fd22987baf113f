"""Ctrl-C reaches the tests and their processes, even if a shell runs them in the background."""

import signal


def pytest_configure():
    signal.signal(signal.SIGINT, signal.default_int_handler)
