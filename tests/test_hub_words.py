"""Every refusal of the Hub's library in our words, and what its headers may not say."""

import gzip
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from huggingface_hub import errors
from huggingface_hub.utils import close_session

from infra.errors import AuthError, CorralError, DocumentError, EndpointError
from serving.model import hub
from serving.model.hub import asked, file, tensors
from serving.model.hub_token import Token
from serving.model.safetensors import Tensor
from serving.model.weights import Part

REFUSED = httpx2.Response(400, request=httpx2.Request("GET", "http://hub"))
MISSING = (DocumentError, "There is no repository 'a/b' on the Hub, or your token may not see it.")
NO_WEIGHTS = (DocumentError, "a/b has no config.json, or no safetensors weights.")
NO_HEADER = (DocumentError, "A safetensors header of a/b cannot be read.")


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "message", "hint"),
    [
        (
            errors.GatedRepoError("gated", response=REFUSED),
            AuthError,
            "a/b is gated: its licence must be accepted by the owner of your Hugging Face token.",
            "Accept it at https://huggingface.co/a/b, then run: hf auth login",
        ),
        *(
            (error, *MISSING, "Check the name; for a folder write its path: ./a/b")
            for error in (
                errors.RepositoryNotFoundError("no", response=REFUSED),
                errors.HFValidationError("no"),
            )
        ),
        (
            errors.RevisionNotFoundError("no", response=REFUSED),
            DocumentError,
            "a/b has no commit of the name that the plan gives.",
            "Plan again, or set revision (under serve in the plan) to one of its commits.",
        ),
        *(
            (error, *NO_WEIGHTS, "corral sizes safetensors checkpoints.")
            for error in (errors.EntryNotFoundError("no"), errors.NotASafetensorsRepoError("no"))
        ),
        *(
            (error, *NO_HEADER, "Use another repository or revision.")
            for error in (errors.SafetensorsParsingError("no"), ValueError("no"))
        ),
        *(
            (
                error,
                EndpointError,
                f"The Hub cannot be asked about a/b: {said}.",
                "Let this machine reach it (HTTPS_PROXY, SSL_CERT_FILE); corral's own table needs no network: "
                "corral size scout, or corral size maverick.",
            )
            for error, said in (
                (errors.OfflineModeIsEnabled("offline."), "offline"),
                (caused(errors.LocalEntryNotFoundError("no"), OSError("the cause\nand more")), "the cause"),
                (errors.LocalEntryNotFoundError("itself"), "itself"),
                (httpx2.ConnectError("refused"), "refused"),
                (TimeoutError(), "TimeoutError"),
            )
        ),
    ],
)
def test_a_refusal_of_the_hub_in_our_words(
    error: Exception, kind: type[CorralError], message: str, hint: str
) -> None:
    def ask() -> None:
        raise error

    with pytest.raises(kind) as caught:
        asked("a/b", ask)
    assert (caught.value.message, caught.value.hint) == (message, hint)
    assert asked("a/b", lambda: 5) == 5


def found(**rows: Any) -> Any:
    """As the library has it: files, each with its tensors."""
    files = {
        name: SimpleNamespace(metadata={"format": "pt"}, tensors={name: SimpleNamespace(**row)})
        for name, row in rows.items()
    }
    return SimpleNamespace(files_metadata=files)


def test_the_librarys_tensors_are_ours() -> None:
    one = {"dtype": "BF16", "shape": [2, 3], "data_offsets": (0, 12)}
    two = {"dtype": "F32", "shape": [1], "data_offsets": (0, 4)}
    assert tensors("a/b", found(one=one, two=two)) == [
        Tensor("one", "BF16", (2, 3), 12),
        Tensor("two", "F32", (1,), 4),
    ]
    with pytest.raises(DocumentError) as caught:
        tensors("a/b", found(one=one | {"data_offsets": (0, 11)}))
    assert caught.value.message == "A safetensors header of a/b contradicts itself at one."
    assert caught.value.hint == "Use another repository or revision."


# What is asked


def test_a_small_file_is_asked_for_once_and_its_refusal_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[httpx2.Request] = []
    status = 200

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(status, content=b"{}")

    session = httpx2.Client(transport=httpx2.MockTransport(answer))
    monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: session)
    assert file("a/b", "config.json", "c" * 40, None) == b"{}"
    (request,) = asked
    assert request.url.path == f"/a/b/resolve/{'c' * 40}/config.json"
    assert "authorization" not in request.headers
    assert request.extensions["timeout"]["read"] == 10.0
    status = 500
    with pytest.raises(errors.HfHubHTTPError):
        file("a/b", "config.json", "c" * 40, Token("hf_12345678", "HF_TOKEN"))
    assert len(asked) == 2
    assert asked[1].headers["authorization"] == "Bearer hf_12345678"


CONFIG = b"""{"architectures": ["Llama4ForCausalLM"], "hidden_size": 8, "num_hidden_layers": 4,
"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 8, "num_local_experts": 2, "vocab_size": 9,
"max_position_embeddings": 99, "torch_dtype": "float16"}"""


def test_a_repository_is_read_from_its_config_and_its_headers_at_one_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[object] = []

    def metadata(hub: object, repo: str, revision: str, timeout: float, token: object) -> Any:
        told.append((repo, revision, timeout, token))
        row = {"dtype": "BF16", "shape": [9, 8], "data_offsets": (0, 144)}
        return found(**{"lm_head.weight": row})

    monkeypatch.setattr("infra.offline.is_offline", lambda: False)

    def small(repo: str, name: str, revision: str, token: object) -> bytes:
        told.append((repo, name, revision, token))
        return CONFIG

    def described(repo: str, revision: str | None, token: object) -> Any:
        told.append((repo, revision, token))
        files = [SimpleNamespace(rfilename=name) for name in ("config.json", "model.safetensors")]
        return SimpleNamespace(siblings=files, sha="c" * 40)

    monkeypatch.setattr("serving.model.hub.info_of", described)
    monkeypatch.setattr("serving.model.hub.file", small)
    monkeypatch.setattr("huggingface_hub.HfApi.get_safetensors_metadata", metadata)
    monkeypatch.setenv("HF_TOKEN", "hf_12345678")
    read = hub.read("a/b")
    token = Token("hf_12345678", "HF_TOKEN")
    assert told == [
        ("a/b", None, token),
        ("a/b", "config.json", "c" * 40, token),
        ("a/b", "c" * 40, 10.0, "hf_12345678"),
    ]
    assert (read.where, read.dtype, read.precision, read.nested_config) == ("a/b", "float16", "bf16", False)
    assert read.revision == "c" * 40
    assert (read.architecture.vocab_size, read.weights) == (9, (Part("lm_head", None, 72, bytes=144),))
    monkeypatch.setattr("serving.model.hub.file", lambda *_: b"[]")
    with pytest.raises(DocumentError, match="config.json of a/b is not a JSON object"):
        hub.read("a/b")


# A Hub that never comes to an end


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """A Hub that begins each answer with the first of these, and goes on with the second while anybody listens."""
    says = [b"", b""]

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.close_connection = True
            with suppress(OSError):
                self.wfile.write(says[0])
                while says[1]:
                    self.wfile.write(says[1])
                self.connection.recv(1)  # until nobody listens

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield says
        server.shutdown()
        thread.join()
        close_session()


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("begin", "goes_on"),
    [
        (b"", b""),
        (OK + b"A: ", b""),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 100),
        (OK + b"\r\n{", b""),
        (OK + b"Content-Length: 9\r\n\r\n{", b""),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b""),
    ],
    ids=["nothing", "a header", "goes on", "hints", "a body", "a length", "chunks"],
)
def test_a_hub_that_does_not_come_to_an_end_has_its_time(
    begin: bytes, goes_on: bytes, endless: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    endless[:] = begin, goes_on
    monkeypatch.setattr(hub, "ASKED_WITHIN_S", 0.5)
    with pytest.raises(EndpointError) as caught:
        hub.describe("a/b", None, None)
    assert caught.value.message == "The Hub cannot be asked about a/b: it did not answer within 0.5 s."


@pytest.mark.parametrize(
    ("begin", "goes_on", "why"),
    [
        (OK + b"\r\n", b" " * 65536, "more than 1,000,000 bytes for a short question"),
        (OK + b"Content-Length: 99999999999\r\n\r\n", b" " * 65536, "more than 1,000,000 bytes for a short question"),
        (OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(10_000_000)), b"",
         "more than 1,000,000 bytes for a short question"),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx", b"",
         "what is not compressed as it says: Error -3 while decompressing data: incorrect header check"),
        (OK + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\nxx", b"", "in br, which was not asked for"),
    ],
    ids=["a flood", "a length that is a lie", "a bomb", "no gzip", "not asked for"],
)  # fmt: skip
def test_a_hub_that_says_too_much_is_not_heard_out(
    begin: bytes, goes_on: bytes, why: str, endless: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    endless[:] = begin, goes_on
    monkeypatch.setattr(hub, "LARGEST_ANSWER_BYTES", 1_000_000)
    with pytest.raises(EndpointError) as caught:
        hub.describe("a/b", None, None)
    assert caught.value.message == f"The Hub cannot be asked about a/b: {why}."
