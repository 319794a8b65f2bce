"""Ctrl-C, SIGTERM and a closed terminal: one KeyboardInterrupt, remembered.

Python drops an exception that a signal raises inside a destructor or a weak reference's callback, and the program goes
on as if nobody had asked. So what was asked is kept, and looked at before anything long begins.
"""

import signal
from collections.abc import Callable
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Handlers = dict[signal.Signals, Any]
"""As signal.signal returns them."""

_asked = False


def heed() -> None:
    """Make all three a KeyboardInterrupt from here on; for the main thread."""
    # SIGINT too: a script's background job is started with it ignored, and could then not be ended cleanly.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    handle(_interrupt)


def look() -> None:
    """Raises KeyboardInterrupt where one was asked for and lost."""
    if _asked:
        raise KeyboardInterrupt


def handle(handler: Callable[..., object]) -> Handlers:
    """Let it handle those that are not ignored, as `nohup` ignores SIGHUP; what handled them before."""
    heeded = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heeded}


def restore(handlers: Handlers) -> None:
    """Let those handle them again."""
    for number, handler in handlers.items():
        signal.signal(number, handler)


def ignore() -> None:
    """From here on none of them counts: all is said, and the exit code stays what it is."""
    restore(dict.fromkeys(SIGNALS, signal.SIG_IGN))


def _interrupt(*_: object) -> None:
    global _asked
    _asked = True
    raise KeyboardInterrupt
