"""What the demo draws: kinds of parts, defects, and which of them its CLIP never sees."""

from __future__ import annotations

from collections.abc import Callable

from numpy.random import Generator

from . import boards, defects, objects, textures
from .canvas import Painter

PAINTERS: dict[str, Callable[[Generator], Painter]] = {
    "nut": objects.nut,
    "washer": objects.washer,
    "gear": objects.gear,
    "screw head": objects.screw_head,
    "bearing": objects.bearing,
    "spring": objects.spring,
    "bottle mouth": objects.bottle_mouth,
    "button": objects.button,
    "pill": objects.pill,
    "capsule": objects.capsule,
    "connector": objects.connector,
    "glass plate": objects.glass_plate,
    "circuit board": boards.circuit_board,
    "microchip": boards.microchip,
    "cable": boards.cable,
    "tile": textures.tile,
    "woven cloth": textures.woven_cloth,
    "leather": textures.leather,
    "brushed metal": textures.brushed_metal,
    "wire mesh": textures.wire_mesh,
    "wood": textures.wood,
    "carpet": textures.carpet,
}
"""Kind → what designs a product of it from a generator of random numbers, and returns what draws its pieces."""

KINDS: tuple[str, ...] = tuple(PAINTERS)
TEXTURES: tuple[str, ...] = ("tile", "woven cloth", "leather", "brushed metal", "wire mesh", "wood", "carpet")
"""The kinds that fill the picture."""
DEFECTS: tuple[str, ...] = tuple(defects.BY_NAME)
HELD_OUT_KINDS: tuple[str, ...] = ("gear", "connector", "leather")
HELD_OUT_DEFECTS: tuple[str, ...] = ("bend", "foreign body")
"""Kept out of the demo CLIP's training, for tests."""
