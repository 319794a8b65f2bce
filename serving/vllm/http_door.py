"""Door: HTTP to an endpoint, and each answer whole within a time and a size."""

import ssl
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Thread
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import httpx2

from infra import bounded_json
from infra.fetch.authorities import trusted
from infra.printable import one_line
from serving.vllm.proxy import Proxy
from serving.vllm.unix_url import over_tcp, socket_path
from serving.vllm.zone import typed, without_zone

LARGEST_ANSWER_BYTES = 16 * 1024 * 1024
GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
NONE_KEPT = httpx2.Limits(max_keepalive_connections=0)
REDIRECTS = (301, 302, 303, 307, 308)


class NoAnswer(Exception):
    """Why there is no answer: `why` is what to decide by, the text what a person may read."""

    def __init__(
        self,
        why: Literal[
            "address", "connect time", "time", "certificate", "unreachable", "proxy", "content", "protocol"
        ],
        reason: str,
    ) -> None:
        super().__init__(reason)
        self.why = why


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, uncompressed. Its text is UTF-8, whatever the server calls it: some unpack."""

    status_code: int
    headers: httpx2.Headers
    content: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode(errors="replace")

    @property
    def has_redirect_location(self) -> bool:
        """Whether it sends us elsewhere."""
        return self.status_code in REDIRECTS and "location" in self.headers

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return bounded_json.load(self.content)


class Way(NamedTuple):
    """How to get there."""

    proxy: Proxy | None = None
    local_address: str | None = None
    """To connect from."""


class HttpDoor:
    """To one endpoint; close it after use.

    No proxy but the one that is given, no redirect, no netrc. Each question has a connection of its own: one kept is
    closed by the server sooner or later (uvicorn: after 5 s), and a question that meets that moment is lost.
    """

    def __init__(
        self,
        base_url: str,
        headers: dict[str, str],
        timeout_s: float,
        trust: ssl.SSLContext | None = None,
        most_bytes: int = LARGEST_ANSWER_BYTES,
        way: Way = Way(),  # noqa: B008 - frozen
    ) -> None:
        """`trust`: None for the system's. Raises NoAnswer."""
        self.timeout_s = timeout_s
        self._most_bytes = most_bytes
        try:
            self._http = httpx2.Client(
                base_url=typed(over_tcp(base_url)),
                headers={"accept-encoding": "identity", **host_header(base_url), **headers},
                timeout=timeout_s,
                trust_env=False,
                verify=trust or trusted(),
                limits=NONE_KEPT,
                **options_of(way, socket_path(base_url), trust or trusted()),
            )
        except httpx2.InvalidURL as error:
            raise NoAnswer("address", str(error)) from None

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def ask(self, method: str, path: str, body: Any = None, connect_s: float | None = None) -> Answer:
        """The whole answer, however slowly it drips. Raises NoAnswer.

        The library limits only each single read, so it works in a thread, which is left behind when the time is over,
        and ends with the connection or the program.
        """
        outcome: list[Answer | Exception] = []

        def asking() -> None:
            try:
                timeout = httpx2.Timeout(self.timeout_s, connect=connect_s or self.timeout_s)
                with self._http.stream(method, path, json=body, timeout=timeout) as response:
                    outcome.append(read_whole(response, self._most_bytes))
            except Exception as error:
                outcome.append(error)

        thread = Thread(target=asking, daemon=True)
        thread.start()
        thread.join(self.timeout_s)
        answer = outcome[0] if outcome else httpx2.ReadTimeout("not whole in time")
        if isinstance(answer, Exception):
            raise no_answer(answer) from None
        return answer


def host_header(url: str) -> dict[str, str]:
    """What the library would say wrong: the interface to an address is nobody else's business."""
    told = without_zone(url)
    return {} if told == url else {"host": urlsplit(told).netloc}


def options_of(way: Way, uds: str | None, trust: ssl.SSLContext) -> dict[str, Any]:
    """That way in the library's options, where it is not the usual one."""
    if way.proxy:
        secret = way.proxy.authorization
        headers = {"proxy-authorization": secret} if secret else {}
        return {"proxy": httpx2.Proxy(way.proxy.url, headers=headers)}
    if uds or way.local_address:
        return {
            "transport": httpx2.HTTPTransport(
                verify=trust, trust_env=False, limits=NONE_KEPT, uds=uds, local_address=way.local_address
            )
        }
    return {}


def read_whole(response: httpx2.Response, most_bytes: int = LARGEST_ANSWER_BYTES) -> Answer:
    """The response with its body, uncompressed. Raises httpx2.DecodingError for more than anybody needs."""
    # Without its header the library leaves the body as it came: it would unpack whole what it has read.
    encoding = response.headers.pop("content-encoding", "identity")
    body = b"".join(unpacked(response.iter_bytes(), encoding, most_bytes))
    return Answer(response.status_code, response.headers, body)


def unpacked(pieces: Iterable[bytes], encoding: str, most_bytes: int) -> Iterator[bytes]:
    """The pieces of a body, uncompressed. Raises httpx2.DecodingError where they are more than so many bytes."""
    unpack, left_bytes = unpacker(encoding), most_bytes
    try:
        for piece in pieces:
            plain = unpack(piece, left_bytes + 1)
            left_bytes -= len(plain)
            if left_bytes < 0:
                raise httpx2.DecodingError(f"more than {most_bytes:,} bytes for a short question")
            yield plain
    except zlib.error as error:
        raise httpx2.DecodingError(f"what is not compressed as it says: {error}") from None


class Unpacked(httpx2.SyncByteStream):
    """The body of an answer that a library reads for us."""

    def __init__(self, packed: httpx2.SyncByteStream, encoding: str, most_bytes: int) -> None:
        self._packed, self._encoding, self._most_bytes = packed, encoding, most_bytes

    def __iter__(self) -> Iterator[bytes]:
        return unpacked(self._packed, self._encoding, self._most_bytes)

    def close(self) -> None:
        """Let the connection go."""
        self._packed.close()


def unpacker(encoding: str) -> Callable[[bytes, int], bytes]:
    """What turns a piece of a body into at most so many bytes. Raises httpx2.DecodingError for what was not asked for.

    What stops for want of room has more than anybody needs, so the rest is not looked at.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return lambda piece, most: piece
        case "gzip" | "x-gzip" | "deflate":
            return zlib.decompressobj(GZIP_OR_ZLIB).decompress
        case _:
            raise httpx2.DecodingError(f"in {one_line(encoding, 40)}, which was not asked for")


def no_answer(error: Exception) -> Exception:
    """The library's failure as ours; a mistake of ours stays what it is."""
    if not isinstance(error, httpx2.HTTPError | httpx2.InvalidURL | httpx2.StreamError):
        return error
    if isinstance(error, httpx2.InvalidURL):
        return NoAnswer("address", str(error))
    if isinstance(error, httpx2.ConnectTimeout):
        return NoAnswer("connect time", str(error))
    if isinstance(error, httpx2.TimeoutException):
        return NoAnswer("time", str(error))
    if untrusted := certificate_fault(error):
        return NoAnswer("certificate", untrusted)
    if isinstance(error, httpx2.ProxyError):
        return NoAnswer("proxy", str(error))
    if isinstance(error, httpx2.ConnectError):
        return NoAnswer("unreachable", str(error))
    return NoAnswer("content" if isinstance(error, httpx2.DecodingError) else "protocol", str(error))


def certificate_fault(error: BaseException) -> str:
    """What OpenSSL has against the certificate, anywhere among the causes; "" where it is something else."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
        cause = cause.__cause__ or cause.__context__
    return ""
