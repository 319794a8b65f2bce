"""Ctrl-C, SIGTERM and a closed terminal: one KeyboardInterrupt, remembered.

Python drops an exception that a signal raises inside a destructor or a weak reference's callback, and the program goes
on as if nobody had asked. So what was asked is kept, and looked at before anything long begins.
"""

import signal

_asked = False


def heed() -> None:
    """Make all three a KeyboardInterrupt from here on; for the main thread."""
    # SIGINT too: a script's background job is started with it ignored, and could then not be ended cleanly.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)


def look() -> None:
    """Raises KeyboardInterrupt where one was asked for and lost."""
    if _asked:
        raise KeyboardInterrupt


def _interrupt(*_: object) -> None:
    global _asked
    _asked = True
    raise KeyboardInterrupt
