"""Ctrl-C during a training."""

import signal
import sys
import threading


class Interrupted(Exception):
    """Raised between two steps after Ctrl-C, when everything is saved."""


class Interrupt:
    """Within its block, Ctrl-C asks the training to stop after a step; again, it stops at once.

    In other threads than the main one Python delivers no signals, and nothing is changed.
    """

    def __init__(self):
        self.asked = False
        self._before = None

    def __enter__(self) -> "Interrupt":
        handler = signal.getsignal(signal.SIGINT)
        main = threading.current_thread() is threading.main_thread()
        if main and callable(handler):  # not where the caller ignores it
            self._before = handler
            signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *error) -> None:
        if self._before is not None:  # Lightning ignores the signal after an interruption
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, number: int, frame) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("stopping after this step; Ctrl-C again stops at once", file=sys.stderr)
