"""The day it is: one place, so that a document can be made again on another day."""

import os
from datetime import UTC, date, datetime


def today() -> date:
    """The day SOURCE_DATE_EPOCH names (reproducible-builds.org's convention: seconds since 1970), else today."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(epoch), UTC).date() if epoch.isdecimal() else date.today()
