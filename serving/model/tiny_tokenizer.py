"""The toy's tokenizer: byte-level BPE over a few hundred common words, with Llama 4's special tokens at the end."""

import json
from pathlib import Path

# Each word becomes one token by successive merges of its beginnings, so any text can be written: bytes last.
WORDS = """
the of and to in is that for it as was with be by on not he this are or his from at which but have an had they you
were there one all we can her has their been if more when will would who so no out up about into them than some its
other time new like only then any my now over such our man even most made after also did many before must through
years where much your way well down should because long each just state those people how too little good world very
make still see own work men day get here between both being under never same another know while last might us great
old year off come since against go came right used take three machine model memory token cache server engine horse
fence gate ranch river valley grass wind cloud stone field water light night morning winter summer road house small
first second number part place found every thing left line under again hand high side large often end turn near head
answer question request prompt word letter page measure count price hour cost month speed load wait start stop open
close read write keep move run walk ride lead follow gather guard watch rest drink eat grow cross climb build carry
a b c d e f g h i j k l m n o p q r s t u v w x y z . , ; : ? !
"""

SPECIAL = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|header_start|>",
    "<|header_end|>", "<|eom|>", "<|eot|>", "<|step|>", "<|python_start|>", "<|python_end|>", "<|finetune_right_pad|>",
    "<|image_start|>", "<|image_end|>", "<|tile_x_separator|>", "<|tile_y_separator|>", "<|image|>", "<|patch|>",
)  # fmt: skip

# The shape of Llama 4's own: turns between header tokens, an image as one placeholder.
CHAT_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
{{- '<|header_start|>' + message['role'] + '<|header_end|>\n\n' }}
{%- if message['content'] is string %}
{{- message['content'] }}
{%- else %}
{%- for part in message['content'] %}
{%- if part['type'] == 'image' %}{{ '<|image|>' }}{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}
{%- endfor %}
{%- endif %}
{{- '<|eot|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|header_start|>assistant<|header_end|>\n\n' }}
{%- endif %}
"""

SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def write(folder: Path) -> None:
    """Write the tokenizer's files into a checkpoint folder."""
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(), ensure_ascii=False), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings(), indent=2), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")


def token_ids() -> dict[str, int]:
    """Every token and its id: the bytes, the merged words, and last the special tokens, as Llama 4 has them."""
    plain = [*byte_letters().values(), *("".join(pair) for pair in merges())]
    return {token: number for number, token in enumerate([*plain, *SPECIAL])}


def merges() -> list[tuple[str, str]]:
    """The merges, in rank order: each word's beginnings from two letters up, with and without a space before."""
    space = byte_letters()[ord(" ")]
    pairs: dict[tuple[str, str], None] = {}
    for word in WORDS.split():
        for spelled in (space + word, word):
            for end in range(1, len(spelled)):
                pairs[spelled[:end], spelled[end]] = None
    return list(pairs)


def byte_letters() -> dict[int, str]:
    """The printable letter that stands for each byte in byte-level BPE (GPT-2's table)."""
    printable = {byte: chr(byte) for byte in (*range(33, 127), *range(161, 173), *range(174, 256))}
    others = [byte for byte in range(256) if byte not in printable]
    return printable | {byte: chr(256 + number) for number, byte in enumerate(others)}


def tokenizer() -> dict[str, object]:
    """The value of tokenizer.json."""
    ids = token_ids()
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added(token, ids[token]) for token in SPECIAL],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
            ],
        },
        "post_processor": begins_with("<|begin_of_text|>", ids["<|begin_of_text|>"]),
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for token, number in ids.items() if token not in SPECIAL},
            "merges": [list(pair) for pair in merges()],
        },
    }


def added(token: str, number: int) -> dict[str, object]:
    """One special token, as tokenizer.json lists it."""
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": token, **plain, "special": True}


def begins_with(token: str, number: int) -> dict[str, object]:
    """The post-processor that puts one token before every text."""
    sequence = {"Sequence": {"id": "A", "type_id": 0}}
    second = {"Sequence": {"id": "B", "type_id": 1}}
    first = {"SpecialToken": {"id": token, "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [first, sequence],
        "pair": [first, sequence, second],
        "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]}},
    }


def settings() -> dict[str, object]:
    """The value of tokenizer_config.json."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot|>",
        "pad_token": "<|finetune_right_pad|>",
        "model_max_length": 16384,
        "clean_up_tokenization_spaces": False,
    }
