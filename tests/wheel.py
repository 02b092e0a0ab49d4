"""Check an installed wheel. Run this with the Python of the wheel's environment, outside of the source tree."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from goodparts.runtime.core import native
from goodparts.runtime.core.preprocess import resize
from goodparts.runtime.engine.shipped import SHIPPED
from goodparts.runtime.engine.spec import verify_files
from PIL import Image

frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
assert native.core() is not None, "the C++ core does not load"
pillow = (
    Image.fromarray(frame).resize((240, 480), Image.Resampling.BICUBIC).resize((240, 240), Image.Resampling.BICUBIC)
)
assert (resize(frame, (240, 240)) == np.asarray(pillow)).all(), "the C++ core resamples otherwise than Pillow"
verify_files(SHIPPED)
command = Path(sys.executable).with_name("goodparts")
said = subprocess.run([command, "--version"], check=True, capture_output=True, text=True).stdout.strip()
assert said == version("goodparts"), said
subprocess.run([command, "watch", "--help"], check=True, capture_output=True)
print(f"wheel of goodparts {said} on Python {sys.version.split()[0]}: passed")
