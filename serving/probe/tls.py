"""TLS without a socket: bytes in, bytes out, so that the socket stays ours and keeps its kernel stamps."""

import ssl

from infra.printable import one_line

HEAD_LIMIT_BYTES = 64 * 1024


class TlsFault(Exception):
    """The handshake failed, or the proxy's before it; `error_class` is the class it is counted in."""

    def __init__(self, message: str, error_class: str = "tls") -> None:
        super().__init__(message)
        self.error_class = error_class


class Tls:
    """One connection's TLS; through the tunnel that `connect` asks a proxy for, where it is not empty."""

    def __init__(self, context: ssl.SSLContext, server_hostname: str, connect: bytes = b"") -> None:
        self._connect = connect
        self._proxy_said: bytes | None = b"" if connect else None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._layer = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)

    def shake(self) -> bool:
        """Go on with the handshake as far as what has come allows; say whether it is done. Raises TlsFault."""
        if self._proxy_said is not None and not self._is_through(self._proxy_said):
            return False
        try:
            self._layer.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLCertVerificationError as error:
            raise TlsFault(f"the certificate is not trusted: {error.verify_message}") from None
        except (ssl.SSLError, ValueError) as error:
            raise TlsFault(f"the TLS handshake failed: {getattr(error, 'reason', None) or error}") from None
        return True

    def received(self, data: bytes) -> None:
        """Take what the socket gave; nothing means that the peer has closed."""
        if self._proxy_said is not None:
            self._proxy_said += data
            if not data:
                raise TlsFault("the proxy closed the connection", "proxy")
        elif data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def read(self) -> tuple[bytes, bool]:
        """What the peer has said so far, and whether it has said its last."""
        plain: list[bytes] = []
        try:
            while piece := self._layer.read(65536):
                plain.append(piece)
        except ssl.SSLWantReadError:
            return b"".join(plain), False
        except (ssl.SSLError, ValueError):
            pass
        return b"".join(plain), not plain

    def write(self, data: bytes) -> None:
        """Say something; what to send is in `to_send`."""
        self._layer.write(data)

    def to_send(self) -> bytes:
        """What the socket must send now."""
        asked, self._connect = self._connect, b""
        return asked or self._outgoing.read()

    def _is_through(self, said: bytes) -> bool:
        """Whether the proxy has made the tunnel: any 2xx says so. Raises TlsFault."""
        head, blank, rest = said.partition(b"\r\n\r\n")
        if not blank:
            if len(said) > HEAD_LIMIT_BYTES:
                raise TlsFault("the proxy's answer has no end", "proxy")
            return False
        first = one_line(head.split(b"\r\n")[0].decode("latin-1"), 80)
        if not first.startswith("HTTP/1.") or first.split(" ")[1:2] == [] or first.split(" ")[1][:1] != "2":
            raise TlsFault(f"the proxy makes no tunnel: {first}", "proxy")
        self._proxy_said = None
        self._incoming.write(rest)
        return True
