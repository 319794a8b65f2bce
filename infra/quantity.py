"""PURE: a number as a person types it: 1M, 2k, 3e6, 3,000,000, 50 ms, 70%; what may mean two things is refused.

And how many there are of something, as a person reads it.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Literal

Unit = Literal["", "vllm", "s", "ms", "usd", "share", "gb", "gib"]
"""What a number counts. "vllm" is a whole number of a flag that vLLM has too, read as vLLM reads it."""

DECIMAL = {
    **dict.fromkeys("kK", 10**3),
    "M": 10**6,
    **dict.fromkeys("gGbB", 10**9),
    **dict.fromkeys("tT", 10**12),
}
VLLM = {
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "K": 2**10,
    "M": 2**20,
    "G": 2**30,
    "T": 2**40,
    **{f"{letter}B": 10**power for letter, power in (("k", 3), ("M", 6), ("G", 9), ("T", 12))},
    **{f"{letter}iB": 2**power for letter, power in (("K", 10), ("M", 20), ("G", 30), ("T", 40))},
}
"""As human_readable_int of vLLM 0.32.0: small letters are decimal, capital ones binary; and sizes in full."""
SECONDS = {
    "us": Decimal("0.000001"),
    "ms": Decimal("0.001"),
    **dict.fromkeys(("s", "sec", "second", "seconds"), Decimal(1)),
    **dict.fromkeys(("m", "min", "minute", "minutes"), Decimal(60)),
    **dict.fromkeys(("h", "hour", "hours"), Decimal(3600)),
    **dict.fromkeys(("d", "day", "days"), Decimal(86400)),
}
SUFFIXES: Mapping[Unit, Mapping[str, Decimal | int]] = {
    "": DECIMAL,
    "vllm": VLLM,
    "s": SECONDS,
    "ms": {suffix: 1000 * scale for suffix, scale in SECONDS.items()},
    "usd": DECIMAL | {"m": 10**6},
    "share": {"%": Decimal("0.01")},
    "gb": {"MB": Decimal("0.001"), "GB": 1, "G": 1, "TB": 1000, "T": 1000, "PB": 10**6},
    "gib": {"MiB": Decimal(1) / 1024, "GiB": 1, "TiB": 1024},
}
# What people write there and mean different things by.
AMBIGUOUS: Mapping[Unit, Mapping[str, str]] = {
    "": {"m": "m is a thousandth, a million or a minute"},
    "gib": dict.fromkeys(("M", "G", "T", "MB", "GB", "TB"), "GB are fewer than GiB"),
}
EXAMPLES: Mapping[Unit, str] = {
    "": "3000, 3k or 3e3",
    "vllm": "8192, 8k (8,000) or 8K (8,192)",
    "s": "1.5, 500ms or 2min",
    "ms": "500, 500ms or 1.5s",
    "usd": "12.50, 1,200 or 250k",
    "share": "0.7 or 70%",
    "gb": "500, 500GB or 2TB",
    "gib": "150, 150GiB or 2TiB",
}
CAPITALS = ("K", "M", "G", "T")
LATENCIES = ("ttft", "tpot", "itl", "e2el")
"""Names of times that do not end in their unit."""
# Beyond it no bound is: what is typed so is a slip, and its digits are not spelled out.
MOST_DIGITS = 40
NUMBER = re.compile(
    r"(?P<sign>[+-]?)\$?"
    r"(?P<digits>[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?|[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?|\.[0-9]+)"
    r"(?P<power>[eE][+-]?[0-9]{1,4})?\s*(?P<suffix>%|[A-Za-z]*)",
    re.ASCII,
)


def unit_of(name: str, is_share: bool = False) -> Unit:
    """What a field's name says that it counts, by the unit at its end; a share is what ends at 1."""
    if is_share:
        return "share"
    if "usd" in name or "price" in name:
        return "usd"
    if name in LATENCIES:
        return "s"
    for unit in ("s", "ms", "gb", "gib"):
        if name.endswith(f"_{unit}") and not name.endswith(f"_per_{unit}"):
            return unit
    return ""


def read(text: str, unit: Unit, whole: bool) -> Decimal:
    """The number in its unit. Raises ValueError, the end of a sentence that begins with what was typed."""
    no_number = "is no whole number" if whole else "is no number"
    typed = NUMBER.fullmatch(text.strip())
    if not typed or ("$" in text and unit != "usd"):
        raise ValueError(no_number)
    digits, suffix = typed["digits"].replace(",", "").replace("_", ""), typed["suffix"]
    scale = scale_of(suffix, unit, whole)
    if scale is None:
        raise ValueError(no_number)
    if unit == "vllm" and "." in digits and suffix in CAPITALS:
        raise ValueError("is ambiguous: to vLLM a capital letter is a power of 1,024, and takes no fraction")
    value = Decimal(f"{typed['sign']}{digits}{typed['power'] or ''}") * scale
    if len(digits) > MOST_DIGITS or abs(value.adjusted()) > MOST_DIGITS:
        raise ValueError("is beyond any number that is meant here")
    if whole and value != value.to_integral_value():
        raise ValueError(no_number)
    return value


def has_suffix(text: str) -> bool:
    """Whether a number is followed by what it is multiplied by."""
    typed = NUMBER.fullmatch(text.strip())
    return bool(typed and typed["suffix"])


def scale_of(suffix: str, unit: Unit, whole: bool) -> Decimal | int | None:
    """What a suffix multiplies by; None where it has no meaning. Raises ValueError where it has several."""
    if not suffix:
        return 1
    if suffix == "m" and whole and not unit:  # nothing whole has thousandths
        return 10**6
    if meanings := AMBIGUOUS.get(unit, {}).get(suffix):
        raise ValueError(f"is ambiguous: {meanings}")
    return SUFFIXES[unit].get(suffix)


def listed(names: Sequence[str]) -> str:
    """Things as a sentence lists them."""
    return ", and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def counted(number: int, noun: str) -> str:
    """A number of things, of which the noun names one."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
