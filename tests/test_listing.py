"""What the Hub says a repository holds: the files of it that a server reads, and why it may not be one."""

from typing import Any

import pytest

from infra.errors import DocumentError, EndpointError
from infra.fetch import listing
from infra.fetch.hub_answers import Source
from infra.fetch.listing import Wanted

SOURCE = Source("https://hub", "some/model", "c" * 40)
BLOB, SHA = "a" * 40, "b" * 64
ROW = {"rfilename": "x.json", "size": 2, "blobId": BLOB}
MIRROR = "Is there a proxy or a mirror on the way (HTTPS_PROXY, HF_ENDPOINT)? Nothing of it was kept."


def test_small_files_are_known_by_gits_name_and_large_ones_by_their_sha256() -> None:
    large = {"rfilename": "x.safetensors", "size": 9, "blobId": BLOB, "lfs": {"sha256": SHA, "size": 9}}
    files = listing.files_of(
        {"sha": SOURCE.commit, "siblings": [ROW, large, ROW | {"rfilename": "a/x.json"}]}, SOURCE
    )
    assert files == [
        Wanted("x.json", 2, "", BLOB),
        Wanted("x.safetensors", 9, SHA, BLOB),
        Wanted("a/x.json", 2, "", BLOB),
    ]
    assert [file.etag for file in files] == [BLOB, SHA, BLOB]


def said(*rows: Any, sha: str = SOURCE.commit) -> dict[str, Any]:
    """The Hub's answer."""
    return {"sha": sha, "siblings": [*rows]}


@pytest.mark.parametrize(
    ("answer", "how"),
    [
        ([], "it lists no files"),
        ({"sha": SOURCE.commit}, "it lists no files"),
        (said(sha="d" * 40), f"it is asked for commit {'c' * 40}, and tells of another"),
        (said(*[ROW] * 20_001), "it lists more than 20,000 files"),
        (said(*({"rfilename": f"{'a/' * 200}{number}"} | {"size": 1, "blobId": BLOB} for number in range(5300))),
         "the names of its files have more than 2,097,152 bytes"),
        (said(None), "it lists a file without a name"),
        (said(ROW | {"rfilename": None}), "it lists a file without a name"),
        (said(ROW | {"lfs": [1]}), "what it says of 'x.json' is no description"),
        (said(ROW | {"size": True}), "it tells no size of 'x.json'"),
        (said(ROW | {"size": 2**50}), "it tells no size of 'x.json'"),
        (said(ROW | {"lfs": {"sha256": SHA, "size": 3}}), "it tells two sizes of 'x.json'"),
        (said(ROW | {"lfs": {"sha256": SHA[1:]}}), "it tells no checksum of 'x.json'"),
        (said(ROW | {"blobId": BLOB.upper()}), "it tells no checksum of 'x.json'"),
        (said(ROW | {"rfilename": "a//b"}), "it names a file 'a//b', which no folder can hold"),
        (said(ROW | {"rfilename": "é" * 128}), f"it names a file {ascii('é' * 128)}, which no folder can hold"),
        (said(ROW, ROW | {"rfilename": "X.json"}),
         "it names 'x.json' and 'X.json', which are one file on many disks"),
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_true(answer: Any, how: str) -> None:
    with pytest.raises(EndpointError) as error:
        listing.files_of(answer, SOURCE)
    assert (error.value.message, error.value.hint) == (
        f"The Hub answers wrongly about some/model: {how}.",
        MIRROR,
    )


def test_what_cannot_be_true_is_told_at_the_edge_alone() -> None:
    named = [ROW | {"rfilename": name} for name in ("readme.md", "README.md", "é" * 127)]  # none is fetched
    assert len(listing.files_of(said(*named), SOURCE)) == 3
    assert (
        len(
            listing.files_of(said(*[ROW | {"rfilename": f"{number}.md"} for number in range(20_000)]), SOURCE)
        )
        == 20_000
    )
    assert listing.files_of(said(ROW | {"size": 2**50 - 1}), SOURCE)[0].size == 2**50 - 1
    assert listing.files_of(said(ROW | {"size": 0}), SOURCE)[0].size == 0


def wanted(*names: str) -> list[Wanted]:
    return [Wanted(name, 1, "", BLOB) for name in names]


def needed(*names: str, index: Any = None) -> list[str]:
    return [file.name for file in listing.needed(wanted(*names), index, SOURCE)]


def test_what_is_fetched_comes_before_the_weights_that_the_index_names() -> None:
    others = ("LICENSE", "chat_template.jinja", "config.json", "merges.txt")
    left = (
        ".gitattributes",
        "README.md",
        "-x.json",
        "original/params.json",
        "pytorch_model.bin",
        "x.txt.pkl",
    )
    shards = ("b.safetensors", "a.safetensors")
    assert needed(*left, *shards, *others) == [*others, *sorted(shards)]
    index = {"weight_map": {"x": "b.safetensors", "y": "b.safetensors"}}
    assert needed(*left, *shards, *others, index=index) == [*others, "b.safetensors"]


def test_of_an_adapter_its_two_files_and_licences_are_fetched() -> None:
    adapter = ("adapter_config.json", "adapter_model.safetensors")
    assert needed("NOTICE.txt", "tokenizer.json", *adapter) == ["NOTICE.txt", *adapter]


PARTLY = ("Use another revision: it was uploaded in part.", "Use another revision.")
PICKLED = ("Choose a repository with *.safetensors.", "Choose a repository that does: vLLM reads those.")
NO_INDEX = "model.safetensors.index.json of some/model is no index of weights."
NO_INDEXES: tuple[Any, ...] = ({}, [], {"weight_map": {}}, {"weight_map": {"x": 5}}, {"weight_map": ["a"]})


@pytest.mark.parametrize(
    ("names", "index", "message", "hint"),
    [
        (["x.safetensors"], None, "some/model has no config.json, so it is no checkpoint that vLLM reads.",
         "Name the repository of the weights themselves."),
        (["config.json"], None, "some/model holds no *.safetensors.", PICKLED[1]),
        (["adapter_config.json"], None, "some/model holds no *.safetensors.", PICKLED[1]),
        (["config.json", "b.bin", "a.PT"], None,
         "some/model holds its weights as pickles alone ('a.PT'), which may run code when they are loaded.",
         PICKLED[0]),
        (["config.json", "a.safetensors"], {"weight_map": {"x": "b.safetensors"}},
         "model.safetensors.index.json of some/model names 'b.safetensors', which the repository does not have.",
         PARTLY[0]),
        (["config.json", "tokenizer.json"], {"weight_map": {"x": "tokenizer.json"}},
         "model.safetensors.index.json of some/model names 'tokenizer.json', which the repository does not have.",
         PARTLY[0]),
        *((["config.json", "a.safetensors"], no_index, NO_INDEX, PARTLY[1]) for no_index in NO_INDEXES),
    ],
)  # fmt: skip
def test_a_repository_that_no_server_reads(names: list[str], index: Any, message: str, hint: str) -> None:
    with pytest.raises(DocumentError) as error:
        needed(*names, index=index)
    assert (error.value.message, error.value.hint) == (message, hint)


def test_a_text_that_is_no_json_says_nothing() -> None:
    assert [listing.parsed(text) for text in (b'{"a": 1}', b"{", b"\xff", b"[" * 200_000)] == [
        {"a": 1},
        None,
        None,
        None,
    ]
