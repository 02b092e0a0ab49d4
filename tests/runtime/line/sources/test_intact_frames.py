"""In damaged video no frame passes from the damage to the next keyframe, and all of them are counted."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
import pytest
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.line.sources.intact_frames import IntactFrames
from PIL import Image

FRAMES, GROUP, RATE = 60, 20, 25
PACKET = 188
VIDEO = 0x100
"""The packet identifier of video in FFmpeg's transport streams."""


def draw_scene(number: int) -> Array8:
    """Return a picture that differs everywhere from those of other numbers, so that a wrong reference shows."""
    y, x = np.mgrid[0:120, 0:160]
    scene = np.stack([(x + 3 * number) % 256, (2 * y + 5 * number) % 256, (x * y // 16 + 7 * number) % 256], axis=2)
    return np.asarray(scene, np.uint8)


def encode(codec: str, b_frames: int, container_format: str = "mpegts", **options: str) -> bytes:
    options = {"preset": "ultrafast", "bf": str(b_frames), "g": str(GROUP), **options}
    if codec == "libx265":
        options |= {"x265-params": f"keyint={GROUP}:min-keyint={GROUP}:bframes={b_frames}:log-level=none:pools=1"}
    file = io.BytesIO()
    with av.open(file, "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height = 160, 120
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(draw_scene(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


class Outcome(NamedTuple):
    """The frames that passed, by their time stamps, and the numbers of lost frames and of packets."""

    passed: dict[int, Array8]
    lost: int
    packets: int


def pass_through(data: bytes, *, is_live: bool = False) -> Outcome:
    passed, lost, packets = dict[int, Array8](), 0, 0
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        intact = IntactFrames(stream.codec_context, is_live=is_live)
        for packet in container.demux(stream):
            packets += packet.size > 0
            decoded = intact.decode(packet)
            lost += decoded.lost
            for frame in decoded.frames:
                assert frame.pts is not None
                passed[frame.pts] = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    return Outcome(passed, lost, packets)


def assert_nothing_smeared_passes(damaged: bytes, whole: Outcome) -> Outcome:
    outcome = pass_through(damaged)
    for time, pixels in outcome.passed.items():
        np.testing.assert_array_equal(pixels, whole.passed[time])
    assert len(outcome.passed) + outcome.lost == outcome.packets
    return outcome


def video_packets(data: bytes) -> list[int]:
    """Return the places where packets of video begin."""
    return [at for at in range(0, len(data), PACKET) if (data[at + 1] & 31) << 8 | data[at + 2] == VIDEO]


def lose_packets(data: bytes, seed: int) -> bytes:
    """Return a stream without three packets near one another."""
    rng = random.Random(seed)
    places = video_packets(data)
    first = rng.randrange(len(places) // 8, len(places) - 40)
    gone = {places[first + offset] for offset in rng.sample(range(30), 3)}
    return b"".join(data[at : at + PACKET] for at in range(0, len(data), PACKET) if at not in gone)


def lose_frame(data: bytes, number: int) -> bytes:
    """Return a stream without one whole frame, with the later packets renumbered so that the gap is not visible."""
    kept, frame, counter = bytearray(), -1, 0
    places = set(video_packets(data))
    for at in range(0, len(data), PACKET):
        packet = bytearray(data[at : at + PACKET])
        if at in places:
            frame += packet[1] >> 6 & 1
            if frame == number:
                continue
            packet[3] = packet[3] & 0xF0 | counter % 16
            counter += 1
        kept += packet
    return bytes(kept)


@pytest.fixture(scope="module", params=[("libx264", 0), ("libx264", 2), ("libx265", 0), ("libx265", 2)], ids=str)
def stream(request: pytest.FixtureRequest) -> tuple[bytes, Outcome]:
    data = encode(*request.param)
    return data, pass_through(data)


def test_a_whole_stream_passes_whole(stream: tuple[bytes, Outcome]) -> None:
    assert len(stream[1].passed) == FRAMES
    assert stream[1].lost == 0


@pytest.mark.parametrize("seed", range(4))
def test_after_lost_packets_nothing_passes_up_to_the_next_keyframe(stream: tuple[bytes, Outcome], seed: int) -> None:
    outcome = assert_nothing_smeared_passes(lose_packets(stream[0], seed), stream[1])
    assert outcome.lost > 0
    assert len(outcome.passed) > FRAMES - 3 * GROUP


@pytest.mark.parametrize("number", [22, 23, 24, 25])
def test_after_the_unflagged_loss_of_a_whole_frame_nothing_smeared_passes(
    stream: tuple[bytes, Outcome], number: int
) -> None:
    assert_nothing_smeared_passes(lose_frame(stream[0], number), stream[1])


@pytest.mark.parametrize("number", [22, 30])
def test_a_lost_reference_of_h264_loses_the_rest_of_its_group(number: int) -> None:
    data = encode("libx264", 0)
    outcome = assert_nothing_smeared_passes(lose_frame(data, number), pass_through(data))
    assert outcome.lost == 2 * GROUP - number - 1


@pytest.mark.parametrize("options", [{"x264-params": "open-gop=1"}, {"intra-refresh": "1"}], ids=str)
def test_streams_without_closed_groups_recover_clean(options: dict[str, str]) -> None:
    data = encode("libx264", 2 if "x264-params" in options else 0, **options)
    whole = pass_through(data)
    assert len(whole.passed) == FRAMES
    outcome = assert_nothing_smeared_passes(lose_frame(data, 10), whole)
    assert outcome.lost > 0


def test_reference_gaps_are_found_in_length_prefixed_streams_too() -> None:
    data = encode("libx264", 0, "matroska")
    lost = 0
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        intact = IntactFrames(stream.codec_context, is_live=True)
        for number, packet in enumerate(container.demux(stream)):
            if number != 25:
                lost += intact.decode(packet).lost
    assert lost == 2 * GROUP - 26


def test_joining_a_live_stream_between_keyframes_is_no_loss_and_a_recording_s_beginning_is_one() -> None:
    data = encode("libx264", 0)
    begin = video_packets(data)
    starts = [at for at in begin if data[at + 1] & 0x40]
    joined = data[: 3 * PACKET] + data[starts[5] :]
    assert pass_through(joined, is_live=True).lost == 0
    recorded = pass_through(joined)
    assert recorded.lost == GROUP - 5
    assert len(recorded.passed) == FRAMES - GROUP


# Motion JPEG, in which every picture is a keyframe.


def jpeg_stream(pictures: list[bytes]) -> bytes:
    """Return a container that holds JPEG pictures unchanged, as a webcam sends them."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("mjpeg", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuvj420p"
        stream.encode(av.VideoFrame(160, 120, "yuvj420p"))  # opens the encoder, which the header needs
        for number, data in enumerate(pictures):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, RATE)
            packet.pts = packet.dts = number
            packet.is_keyframe = True
            container.mux(packet)
    return file.getvalue()


def jpegs(**options: int) -> Iterator[bytes]:
    for number in range(6):
        file = io.BytesIO()
        Image.fromarray(draw_scene(number)).save(file, "JPEG", quality=90, **options)
        yield file.getvalue()


@pytest.mark.parametrize("end", [b"", b"\xff\xd9", b"\0" * 2000 + b"\xff\xd9"], ids=["cut", "closed", "zeros"])
@pytest.mark.parametrize("restart", [0, 5], ids=["plain", "restart markers"])
def test_half_jpeg_pictures_are_refused_and_the_next_ones_pass(end: bytes, restart: int) -> None:
    pictures = list(jpegs(restart_marker_blocks=restart))
    pictures[2] = pictures[2][: len(pictures[2]) // 2] + end
    outcome = pass_through(jpeg_stream(pictures))
    assert len(outcome.passed) == 5
    assert outcome.lost == 1


@pytest.mark.parametrize("kind", ["before the end marker", "after the end marker", "before a segment", "without end"])
def test_extraneous_bytes_of_webcams_are_harmless(kind: str) -> None:
    pictures = list(jpegs())
    for number, data in enumerate(pictures):
        tables = data.index(b"\xff\xdb")
        pictures[number] = {
            "before the end marker": data[:-2] + bytes(7) + data[-2:],
            "after the end marker": data + b"\x12\x34\0\0",
            "before a segment": data[:tables] + bytes(4) + data[tables:],
            "without end": data[:-2],
        }[kind]
    outcome = pass_through(jpeg_stream(pictures))
    assert len(outcome.passed) == len(pictures)
    assert outcome.lost == 0
