"""An RTSP server that announces a duration, as recorders do, and closes its connections."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import av

_PAYLOAD = 1300
_SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=recorder
c=IN IP4 127.0.0.1
t=0 0
a=range:npt=0-{seconds}
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1
a=control:track
"""


class RtspServer:
    """Sends an H.264 transport stream once to each client and closes the connection.

    `seconds` is the duration that it announces; `connections` counts the clients.
    """

    def __init__(self, stream: Path, seconds: float) -> None:
        self._units, self._seconds = list(_read_units(stream)), seconds
        self.connections = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(0.1)
        self._closed = threading.Event()
        self.address = f"rtsp://127.0.0.1:{self._listening.getsockname()[1]}/live"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        self._listening.close()

    def _serve(self) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(OSError):
                client, _ = self._listening.accept()
                with client:
                    client.settimeout(5.0)
                    self.connections += 1
                    self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        """Answer requests until the client plays; then send everything and return."""
        with client.makefile("rb") as requests:
            while head := b"".join(iter(requests.readline, b"\r\n")).decode():
                if not head.strip():
                    return
                method = head.split(" ")[0]
                number = re.findall(r"CSeq: *(\d+)", head)[0]
                extra, body = "", ""
                if method == "OPTIONS":
                    extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
                elif method == "DESCRIBE":
                    body = _SDP.format(seconds=self._seconds).replace("\n", "\r\n")
                    extra = f"Content-Type: application/sdp\r\nContent-Base: {self.address}/\r\n"
                elif method == "SETUP":
                    extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
                client.sendall(
                    f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{extra}Content-Length: {len(body)}\r\n\r\n{body}".encode()
                )
                if method == "PLAY":
                    for packet in _packetize(self._units):
                        client.sendall(packet)
                    return


def _read_units(stream: Path) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the time stamp and the NAL units of each picture."""
    with av.open(str(stream)) as container:
        for packet in container.demux(video=0):
            if packet.size:
                assert packet.pts is not None
                yield packet.pts, [unit.rstrip(b"\0") for unit in bytes(packet).split(b"\0\0\1")[1:]]


def _packetize(pictures: list[tuple[int, list[bytes]]]) -> Iterator[bytes]:
    """Yield interleaved RTP packets (RFC 6184)."""
    sequence = 0
    for time, units in pictures:
        for number, unit in enumerate(units):
            pieces = [unit]
            if len(unit) > _PAYLOAD:
                parts = [unit[start : start + _PAYLOAD] for start in range(1, len(unit), _PAYLOAD)]
                pieces = [
                    bytes([unit[0] & 0xE0 | 28, unit[0] & 31 | (index == 0) << 7 | (index == len(parts) - 1) << 6])
                    + part
                    for index, part in enumerate(parts)
                ]
            for index, piece in enumerate(pieces):
                is_last = number == len(units) - 1 and index == len(pieces) - 1
                head = struct.pack(">BBHII", 0x80, 96 | is_last << 7, sequence & 0xFFFF, time & 0xFFFFFFFF, 1)
                yield b"$\0" + struct.pack(">H", len(head) + len(piece)) + head + piece
                sequence += 1
