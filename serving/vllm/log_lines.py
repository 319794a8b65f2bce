"""PURE: a server's log as lines: which process said each, at what level, where and when, and the words themselves."""

import re
from collections.abc import Iterator
from typing import NamedTuple

LONGEST_LINE = 4096
"""What is looked for stands in less; a pattern tried on a line of megabytes takes hours."""
COLOUR = re.compile("\x1b\\[[0-9;]*m")
# What a container's tool puts before each line.
CONTAINER = re.compile(r"[\w.-]{1,60} +\| ")
# vLLM's decorator and Ray's; sometimes both.
PROCESS = re.compile(
    r"\(((?:API|Api)Server|EngineCore|Worker|VllmWorker|RayWorker|(?=[^()\n]{0,120}\bpid=\d))([^()\n]{0,120})\) ?"
)
RANK = re.compile(r"\[rank\d+\]: ?")
LOGGER = re.compile(
    r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) (?:(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d) )?\[?([\w./-]+\.py:\d+)\] ?"
)
UVICORN = re.compile(r"(TRACE|DEBUG|INFO|WARNING|ERROR|CRITICAL):(?:[a-z][\w.]*:| {2,5})")
# torch's C++: [E1001 16:06:04.537131842 ProcessGroupNCCL.cpp:607]
CPP = re.compile(r"\[([EWIF])(?:\d{3,4} [\d:.]+)? \w+\.(?:cpp|hpp|cc|cu):\d+\] ?")
CPP_LEVELS = {"E": "ERROR", "F": "CRITICAL", "W": "WARNING", "I": "INFO"}
COMPLAINTS = ("", "ERROR", "CRITICAL")
"""The levels at which a death is told; what no logger wrote has none."""


class Line(NamedTuple):
    """One line, without what is put before its words."""

    text: str
    process: str = ""
    level: str = ""
    place: str = ""
    time_s: int | None = None
    """Within a year of 31-day months: two times compare, and differ by seconds on one day."""


def lines(log: str) -> Iterator[Line]:
    """Each line of a log."""
    for raw in log.split("\n"):
        yield line(COLOUR.sub("", raw[:LONGEST_LINE]).rstrip("\r"))


def line(text: str) -> Line:
    """One line, taken apart from its beginning."""
    if found := CONTAINER.match(text):
        text = text[found.end() :]
    process = ""
    while (found := PROCESS.match(text)) and found[0].strip() != "()":
        process, text = found[1] + found[2], text[found.end() :]
    if found := RANK.match(text):
        process, text = process or found[0].rstrip(": "), text[found.end() :]
    if found := LOGGER.match(text):
        when = [int(part) for part in found.groups()[1:6] if part is not None]
        return Line(text[found.end() :], process, found[1], found[7], seconds(when))
    if found := CPP.match(text):
        return Line(text[found.end() :], process, CPP_LEVELS[found[1]])
    if found := UVICORN.match(text):
        return Line(text[found.end() :].lstrip(), process, found[1], "uvicorn")
    return Line(text, process)


def seconds(when: list[int]) -> int | None:
    """Of month, day, hour, minute and second; None where they are not said."""
    if len(when) != 5:
        return None
    month, day, hour, minute, second = when
    return (((month * 31 + day) * 24 + hour) * 60 + minute) * 60 + second
