"""PURE: which chunks of an answer carried a token, and the times between them."""


def gaps(sent_ns: int, stamps_ns: list[int]) -> list[int]:
    """The distance of each stamp from the one before, in microseconds; rounded so that they add up."""
    times_us = [sent_ns // 1000, *(stamp_ns // 1000 for stamp_ns in stamps_ns)]
    return [later - earlier for earlier, later in zip(times_us, times_us[1:], strict=False)]


def token_chunks(
    stamps_ns: list[int], tokens: list[int] | None, empty: list[tuple[int, bool]], output_tokens: int | None
) -> tuple[list[int], list[int] | None]:
    """Leave out the chunks that carried no token, as far as the server's usage tells them from withheld text."""
    told = [*tokens, *[0] * (len(stamps_ns) - len(tokens))] if tokens else None
    if not empty:
        return stamps_ns, told
    drop = empty_to_drop(empty, len(stamps_ns), output_tokens)
    kept = [number for number in range(len(stamps_ns)) if number not in drop]
    return [stamps_ns[number] for number in kept], told and [told[number] for number in kept]


def empty_to_drop(empty: list[tuple[int, bool]], chunks: int, output_tokens: int | None) -> set[int]:
    """Which empty chunks held no token.

    A token may show no text yet (half a UTF-8 character), and a closing chunk may hold the end token or nothing.
    Only the server's token count tells: all empty chunks are tokens when it needs them all; else the closing ones
    are not; else none is.
    """
    everything = {number for number, _ in empty}
    closing = {number for number, closes in empty if closes}
    if output_tokens is None:
        return everything
    for drop in (set[int](), closing, everything):
        if chunks - len(drop) == output_tokens:
            return drop
    return closing if chunks - len(closing) <= output_tokens else everything
