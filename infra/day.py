"""The day it is: one place, so that a document can be made again on another day."""

import os
from datetime import UTC, date, datetime

from infra.errors import UsageError


def today() -> date:
    """The day SOURCE_DATE_EPOCH names (reproducible-builds.org's convention: seconds since 1970), else today.

    Raises UsageError when it names none.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return date.today()
    try:
        return datetime.fromtimestamp(int(epoch), UTC).date()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"SOURCE_DATE_EPOCH is {epoch!r}, which is no day.", "Use whole seconds since 1970, or unset it."
        ) from None
