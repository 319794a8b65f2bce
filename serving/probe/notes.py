"""What the user must know about how the requests of a run were made."""

from serving.probe.request_maker import RequestMaker
from serving.vllm.proxy import proxy_of


def notes_of(maker: RequestMaker) -> tuple[str, ...]:
    """How the requests were made."""
    lengths = length_note(maker)
    field = maker.length_field
    return (
        *(
            (f"the server refuses {maker.api.length_field}: lengths are asked for as {field}",)
            if field
            else ()
        ),
        *(f"the server refuses {name}: requests go without it" for name in maker.refused_fields),
        "the user's own prompts" if maker.workload.prompts_file is not None else lengths,
        "ignore_eos: every answer has the asked length"
        if maker.ignores_eos
        else "answers may end before the asked length",
        "sampling: the server's own defaults, but for what --extra-body sets",
        cache_note(maker),
        *way_note(maker.target.base_url),
    )


def way_note(url: str) -> tuple[str, ...]:
    """Through whom the requests went."""
    proxy = proxy_of(url)
    return (
        (f"through the proxy {proxy.url}, which the environment names: its time is in the figures",)
        if proxy
        else ()
    )


def length_note(maker: RequestMaker) -> str:
    """How well the length of a prompt is known."""
    lexicon = maker.lexicon
    if lexicon.known and (maker.facts.exact_lengths or maker.workload.tokenizer is None):
        return "prompt lengths: exact, by the server's own tokenizer"
    if lexicon.known:
        frame = f", and what the server puts around each: {lexicon.frame_tokens:.0f}"
        return f"prompt lengths: by the tokenizer in {maker.workload.tokenizer}{frame if lexicon.calibrated else ''}"
    if lexicon.calibrated:
        file = maker.workload.tokenizer
        not_by = f"; not by the tokenizer in {file}, which counts otherwise than the server" if file else ""
        return (
            f"prompt lengths: approximate, by the server's own count of two prompts: {lexicon.tokens_per_word:.2f}"
            f" tokens a word, and {lexicon.frame_tokens:.0f} around each; the tokens are those it reported{not_by}"
        )
    return "prompt lengths: approximate, the server has no tokenizer to ask in time; the tokens are those it reported"


def cache_note(maker: RequestMaker) -> str:
    """What can have come from the server's prefix cache."""
    shared = maker.workload.prefix_tokens
    within = f"all prompts share {shared} tokens on purpose" if shared else "the prompts are random"
    if maker.workload.prompts_file is not None:
        within = "within it the user's prompts share what they share, and come again when they are used up"
    elif maker.workload.turns > 1:
        within += ", and each turn repeats its conversation so far"
    if maker.salted:
        return f"prefix cache: this run has its own cache_salt, so nothing is hit from before; {within}"
    return f"prefix cache: {within}; the server offers no proof that nothing was hit"
