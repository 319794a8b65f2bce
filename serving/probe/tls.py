"""TLS without a socket: bytes in, bytes out, so that the socket stays ours and keeps its kernel stamps."""

import ssl


class TlsFault(Exception):
    """The handshake failed."""


class Tls:
    """One connection's TLS."""

    def __init__(self, context: ssl.SSLContext, server_hostname: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._layer = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)

    def shake(self) -> bool:
        """Go on with the handshake as far as what has come allows; say whether it is done. Raises TlsFault."""
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
        if data:
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
        return self._outgoing.read()
