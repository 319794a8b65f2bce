"""The codes that the judge beside a server ends with: all that whoever acts on them hears of it."""

try:
    from infra.onhost import judge
except ImportError:  # on a host it lies beside this
    import judge  # type: ignore[import-not-found, no-redef]

READY = 10
"""It serves for the first time; the codes of what is to be ended follow, in the order of ILL."""
ILL: "tuple[judge.Kind, ...]" = ("late", "dead", "deaf", "frozen", "hung", "blind", "failing")


def code_of(kind: "judge.Kind") -> int:
    """The code of a server that is to be ended for that."""
    return READY + 1 + ILL.index(kind)


def words_of(code: int) -> str:
    """Why a server is to be ended; nothing for any other code."""
    number = code - READY - 1
    return judge.WORDS[ILL[number]] if 0 <= number < len(ILL) else ""
