"""An MQTT broker that fails on demand."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from typing import BinaryIO, NamedTuple


class Published(NamedTuple):
    number: int
    is_repeated: bool
    payload: bytes


class ForgetfulBroker(threading.Thread):
    """A broker that closes the connection instead of acknowledging some of its messages.

    `acknowledges` decides for each message.
    """

    def __init__(self, acknowledges: Callable[[], bool]) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._acknowledges = acknowledges
        self.published: list[Published] = []

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                while (packet := self._read(stream)) is not None:
                    kind, body = packet
                    if kind >> 4 == 1:  # CONNECT
                        connection.sendall(b"\x20\x02\x00\x00")
                    if kind >> 4 == 3:  # PUBLISH
                        (length,) = struct.unpack_from(">H", body)
                        (number,) = struct.unpack_from(">H", body, 2 + length)
                        self.published.append(Published(number, bool(kind & 8), body[4 + length :]))
                        if not self._acknowledges():
                            break
                        connection.sendall(b"\x40\x02" + struct.pack(">H", number))

    def close(self) -> None:
        self._listener.close()

    @staticmethod
    def _read(stream: BinaryIO) -> tuple[int, bytes] | None:
        """Return a packet's first byte and its body, without the length; None at the end."""
        try:
            if not (kind := stream.read(1)):
                return None
            length, shift = 0, 0
            while True:
                digit = stream.read(1)[0]
                length |= (digit & 127) << shift
                shift += 7
                if digit < 128:
                    return kind[0], stream.read(length)
        except (OSError, IndexError):
            return None
