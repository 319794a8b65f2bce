"""Ctrl-C, SIGTERM and a closed terminal: one KeyboardInterrupt, which comes again where Python drops it.

Python tells of an exception that a signal raises inside a destructor or a weak reference's callback, as an import has
them, and goes on as if nobody had asked. So the signal is raised again, a moment later, and nothing is told.
"""

import signal
import sys
from collections.abc import Callable
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Handlers = dict[signal.Signals, Any]
"""As signal.signal returns them."""
MOMENT_S = 0.01


def heed() -> None:
    """Make all three a KeyboardInterrupt from here on; for the main thread."""
    # SIGINT too: a script's background job is started with it ignored, and could then not be ended cleanly.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    handle(_interrupt)
    signal.signal(
        signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT)
    )  # to whoever handles it by then
    sys.unraisablehook = _dropped


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
    raise KeyboardInterrupt


def _dropped(what: "sys.UnraisableHookArgs") -> None:
    if what.exc_type is KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, MOMENT_S)
    else:
        sys.__unraisablehook__(what)
