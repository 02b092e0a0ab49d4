"""H.264 recordings of a drawn part that moves past a camera."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from goodparts.drawn.photos import DrawnProduct
from goodparts.runtime.core.preprocess import Array8

FPS = 30
LOOP = 120
"""The number of frames that are encoded. A recording repeats them."""


def record(path: Path, size: tuple[int, int], frames: int) -> Path:
    """Write a recording. LOOP frames are encoded once and repeated.

    Args:
        path: The file to write, as in large.mp4.
        size: The width and the height in pixels.
        frames: The number of frames.

    Returns:
        The file.
    """
    part = DrawnProduct("gear", 1).photo(1, None, size=size[::-1]).image
    rng = np.random.default_rng(0)
    loop = path.with_suffix(".loop.mp4")
    with av.open(str(loop), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "23", "preset": "veryfast", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(LOOP):
            moved = np.roll(part, number * size[0] // LOOP, axis=1).astype(np.int16)
            pixels = np.clip(moved + rng.integers(-3, 4, moved.shape), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(loop)) as source, av.open(str(path), "w") as target:
        target_stream = target.add_stream_from_template(source.streams.video[0])
        timestamp, written = 0, 0
        while written < frames:
            source.seek(0)
            for packet in source.demux(video=0):
                if packet.pts is None or packet.duration is None or written == frames:
                    continue
                packet.pts = packet.dts = timestamp
                timestamp += packet.duration
                packet.stream = target_stream
                target.mux(packet)
                written += 1
    loop.unlink()
    return path


def read_frames(video: Path, count: int) -> list[Array8]:
    """Return the first pictures of a recording, or all if it has fewer; each is uint8 RGB [H,W,3].

    Args:
        video: The file of the recording.
        count: The number of pictures.
    """
    with av.open(str(video)) as container:
        return [
            frame.to_ndarray(format="rgb24") for _, frame in zip(range(count), container.decode(video=0), strict=False)
        ]
