"""Ctrl-C reaches the tests and their processes, even if a shell runs them in the background."""

import signal

import pytest


def pytest_configure():
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def signal_handlers():
    """Those of before are back after each test: i-PI installs its own when it is loaded."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
