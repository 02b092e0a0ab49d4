"""Manual anomaly suffixes: what can be wrong with a part, in words; {} stands for the product.

The generic suffixes and those of benchmark objects are facts of the published method (PromptAD, CVPR 2024, released
code). Their spelling is kept, because text features depend on every character. The objects' suffixes are reworded
labels of the benchmarks' test defects: use them to reproduce results, not to judge the method (docs/promptad.md, D20).
"""

from __future__ import annotations

from pathlib import Path

from goodparts.runtime.core.errors import FileError, SettingsError

GENERIC = (
    "damaged {}",
    "flawed {}",
    "abnormal {}",
    "imperfect {}",
    "blemished {}",
    "{} with flaw",
    "{} with defect",
    "{} with damage",
)

OBJECT_NAMES = {
    "chewinggum": "chewing gum",
    "macaroni1": "macaroni",
    "macaroni2": "macaroni",
    "metal_nut": "metal nut",
    "pcb1": "printed circuit board",
    "pcb2": "printed circuit board",
    "pcb3": "printed circuit board",
    "pcb4": "printed circuit board",
    "pipe_fryum": "pipe fryum",
}
"""Benchmark object → the product text of its prompts, if the text is not the object's own name."""

_MACARONI = "color spot, small chip around edge, small scratches, breakage, cracks"
_PCB = "bent, scratch, missing, melt"
_DEFECTS = {
    # MVTec AD
    "bottle": "large breakage, small breakage, contamination",
    "cable": "bent wire, missing part, missing wire, cut, poke",
    "capsule": "crack, faulty imprint, poke, scratch, {} squeezed with compression",
    "carpet": "hole, color stain, metal contamination, thread residue, thread, cut",
    "grid": "breakage, thread residue, thread, metal contamination, glue, a bent shape",
    "hazelnut": "crack, cut, hole, print",
    "leather": "color stain, cut, fold, glue, poke",
    "metal_nut": "a bent shape, color stain, a flipped orientation, scratch",
    "pill": "color stain, contamination, crack, faulty imprint, scratch, abnormal type",
    "screw": "manipulated front, scratch neck, scratch head",
    "tile": "crack, glue strip, gray stroke, oil, rough surface",
    "toothbrush": "defect, anomaly",
    "transistor": "bent lead, cut lead, damage, misplaced transistor",
    "wood": "color stain, hole, scratch, liquid",
    "zipper": "broken teeth, fabric border, defect fabric, broken fabric, split teeth, squeezed teeth",
    # VisA
    "candle": "melded wax, foreign particals, extra wax, chunk of wax missing, weird candle wick, "
    "damaged corner of packaging, different colour spot",
    "capsules": "scratch, discolor, misshape, leak, bubble",
    "cashew": "breakage, small scratches, burnt, stuck together, spot",
    "chewinggum": "corner missing, scratches, chunk of gum missing, colour spot, cracks",
    "fryum": "breakage, scratches, burnt, colour spot, fryum stuck together, colour spot",
    "macaroni1": _MACARONI,
    "macaroni2": _MACARONI,
    "pcb1": _PCB,
    "pcb2": _PCB,
    "pcb3": _PCB,
    "pcb4": "scratch, extra, missing, wrong place, damage, burnt, dirt",
    "pipe_fryum": "breakage, small scratches, burnt, stuck together, colour spot, cracks",
}


def template(text: str) -> str:
    """Return a suffix that the user wrote as a template: "scratch" becomes "{} with scratch", "bent {}" stays.

    Args:
        text: The suffix.
    """
    return text if "{}" in text else f"{{}} with {text}"


OBJECTS = {name: tuple(template(text) for text in texts.split(", ")) for name, texts in _DEFECTS.items()}
"""Benchmark object → its own suffixes, without the generic suffixes."""


def find_object(text: str) -> str | None:
    """Return the benchmark object that a product text names, as a folder ("metal_nut") or in words ("Chewing gum").

    Return None if the text names no object, or several with different suffixes, as "printed circuit board" does.

    Args:
        text: The product text.
    """
    words = text.casefold().replace("_", " ")
    names = [name for name in OBJECTS if words in (name.replace("_", " "), OBJECT_NAMES.get(name))]
    return names[0] if len({OBJECTS[name] for name in names}) == 1 else None


def resolve(choice: str) -> tuple[str, ...]:
    """Return the suffixes of a choice, as templates with {} for the product.

    A file has one suffix per line: a template, or only the defect's name. It replaces the generic suffixes. Empty lines
    and lines that begin with # are ignored.

    Args:
        choice: "generic", a benchmark object (the generic suffixes and its own), or a text file.

    Raises:
        SettingsError: There is no such choice, or the file holds no suffix.
        FileError: The file cannot be read as text.
    """
    if choice == "generic":
        return GENERIC
    if choice in OBJECTS:
        return GENERIC + OBJECTS[choice]
    path = Path(choice)
    if not path.is_file():
        raise SettingsError(
            f"--suffixes {choice}: neither a file, nor generic, nor a benchmark object ({', '.join(OBJECTS)})"
        )
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"cannot read {path} as UTF-8 text: {error}") from error
    suffixes = tuple(template(line) for line in lines if line and not line.startswith("#"))
    if not suffixes:
        raise SettingsError(f"{path} holds no suffix: write one per line, for example: scratch")
    return suffixes
