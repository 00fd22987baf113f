"""Ctrl-C during a training."""

import signal
import sys
import threading


class Interrupted(Exception):
    """Raised between two steps after Ctrl-C, when everything is saved."""


class Interrupt:
    """Ctrl-C asks a training to stop after a step while it is trained; again, it stops at once.

    From `listen` to `leave` it asks; before and after, it acts as outside of the block. In other
    threads than the main one Python delivers no signals, and nothing is changed.
    """

    def __init__(self):
        self.asked = False
        self._before = None

    def __enter__(self) -> "Interrupt":
        handler = signal.getsignal(signal.SIGINT)
        main = threading.current_thread() is threading.main_thread()
        if main and callable(handler):  # not where the caller ignores it
            self._before = handler
        return self

    def __exit__(self, *error) -> None:
        self.leave()  # Lightning ignores the signal after an interruption

    def listen(self) -> None:
        """Ask from here on."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._ask)

    def leave(self) -> None:
        """Act as outside of the block from here on."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, number: int, frame) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("stopping after this step; Ctrl-C again stops at once", file=sys.stderr)
