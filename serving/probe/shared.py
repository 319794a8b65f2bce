"""What all connections of a process share: the event loop, their reader, the clocks' offset, what is counted."""

import socket

from serving.probe.apis import APIS, ApiName
from serving.probe.kernel_stamps import ask_kernel_stamps, realtime_offset_ns
from serving.probe.process import new_loop
from serving.probe.reader import new_reader
from serving.probe.spec import Load
from serving.probe.tally import Tally


class Shared:
    """Made before the first connection, closed after the last one."""

    def __init__(self, api: ApiName, load: Load) -> None:
        self.tally = Tally(keeps_none=load.new_connections)
        self.offset_ns = realtime_offset_ns()
        self.loop = new_loop()
        self.read_event = APIS[api].read_event
        self.use_kernel_stamps = load.kernel_stamps
        # The kernel begins to stamp a moment after the first socket asks for it, and ends with the last one.
        self._stamped = socket.socket()
        if load.kernel_stamps:
            ask_kernel_stamps(self._stamped)
        self.reader, self.not_compiled = new_reader(self, load.compiled_reader)

    def close(self) -> None:
        """Nothing is read any more."""
        self.reader.close()
        self._stamped.close()
        self.loop.close()
