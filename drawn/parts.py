"""Names of everything that can be drawn, and of the kinds and defects that the small backbone is not trained on."""

from __future__ import annotations

from collections.abc import Callable

from numpy.random import Generator

from . import blemishes, boards, defects, objects, surfaces, textures
from .canvas import Painter
from .pictures import LICENCES, crop_of

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
"""Kind → the function that designs a product of it with a generator of random numbers, and returns its painter."""

KINDS: tuple[str, ...] = tuple(PAINTERS)
"""The kinds of drawn parts."""
TEXTURES: tuple[str, ...] = ("tile", "woven cloth", "leather", "brushed metal", "wire mesh", "wood", "carpet")
"""The kinds that fill the picture."""
DEFECTS: tuple[str, ...] = tuple(defects.BY_NAME)
"""The defects of drawn parts."""
HELD_OUT_KINDS: tuple[str, ...] = ("gear", "connector", "leather")
"""The kinds that are kept out of the training of the small backbone."""
HELD_OUT_DEFECTS: tuple[str, ...] = ("bend", "foreign body")
"""The defects that are kept out of the training of the small backbone."""

SURFACES: dict[str, Callable[[Generator], Painter]] = {
    "stone": surfaces.stone,
    "cast metal": surfaces.cast_metal,
    "ground metal": surfaces.ground_metal,
    "crystals": surfaces.crystals,
    "ribbed sheet": surfaces.ribs,
    "perforated sheet": surfaces.lattice,
    "marble": surfaces.marble,
    "speckled plastic": surfaces.speckle,
    "turned metal": surfaces.turned_metal,
    "painted sheet": surfaces.paint_coat,
    "felt": surfaces.fibres,
    "canvas": surfaces.weave,
    "label": surfaces.print_sheet,
    "assembly": surfaces.assembly,
}
"""Kinds that look like photographs of materials. KINDS, which tests and measurements use, does not hold them."""
PICTURES: dict[str, Callable[[Generator], Painter]] = {name: crop_of(name) for name in LICENCES}
"""Kinds that are crops of photographs by others. They need the packages that hold the photographs."""
BLEMISHES: tuple[str, ...] = tuple(blemishes.BLEMISHES)
"""The defects of surfaces that look like photographs."""
HELD_OUT_SURFACES: tuple[str, ...] = ("marble", "canvas", "turned metal")
HELD_OUT_PICTURES: tuple[str, ...] = ("brick", "coins")
HELD_OUT_BLEMISHES: tuple[str, ...] = ("drop", "crease", "rust")
"""Surfaces, pictures and defects that are kept out of the training of the small backbone. The training keeps the
weights that are best on the held-out products."""
