"""uvicorn's protocol, with an end to how long a request's head may be: neither it nor its parser knows one."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 64 * 2**10
SAID = f"The head of the request is larger than {HEAD_BYTES // 2**10} kB."
REFUSAL = (
    "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"
    f"content-type: text/plain; charset=utf-8\r\ncontent-length: {len(SAID)}\r\n\r\n{SAID}"
).encode()


class Headed(HttpToolsProtocol):
    """Closes a connection whose head, or what follows a body in pieces, does not end."""

    _open_bytes = 0
    """So many came since a head or a piece of a body was whole: all that the parser keeps and nobody else counts."""

    def data_received(self, data: bytes) -> None:
        self._open_bytes += len(data)
        super().data_received(data)
        if self._open_bytes > HEAD_BYTES and not self.transport.is_closing():
            self._refuse()

    def on_headers_complete(self) -> None:
        self._open_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._open_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._open_bytes = 0
        super().on_message_complete()

    def _refuse(self) -> None:
        if self.cycle is None or self.cycle.response_complete:  # else these words would stand in the middle of an answer
            self.transport.write(REFUSAL)
        self.transport.close()
