"""Draw photos of a part to try goodparts with.

`python -m goodparts.drawn --out photos` writes good/, line/ and bad/ into the folder photos.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from goodparts.cli import Parser

from .parts import DEFECTS, KINDS
from .photos import DrawnProduct

SIZE = (400, 400)
"""Height and width of a photo."""
BAD_EVERY = 10
"""One in this many parts of the line is bad."""


def draw_photos(folder: Path, kind: str, good: int, line: int, bad: int, seed: int = 0) -> None:
    """Draw photos of one product and save them as PNG.

    Args:
        folder: The folder that gets good/, line/ (good and bad parts in the order of a line) and bad/. A bad part's
            file name ends in its defect.
        kind: One of KINDS.
        good: How many photos to draw in good/.
        line: How many photos to draw in line/; every tenth part is bad.
        bad: How many photos to draw in bad/.
        seed: Tells products of one kind apart.

    Raises:
        ValueError: There is no such kind.
        FileExistsError: Another picture would be replaced. Then nothing is written.
        OSError: A folder or a photo cannot be written.
    """
    product = DrawnProduct(kind, seed)
    defects = [DEFECTS[index % len(DEFECTS)] for index in range(max(bad, line))]
    photos: list[tuple[str, str | None]] = [("good", None)] * good
    photos += [("line", defects[index] if index % BAD_EVERY == BAD_EVERY - 1 else None) for index in range(line)]
    photos += [("bad", defects[index]) for index in range(bad)]
    files: dict[Path, bytes] = {}
    for number, (subfolder, defect) in enumerate(photos):
        ending = "" if defect is None else f"_{defect.replace(' ', '_')}"
        buffer = io.BytesIO()
        Image.fromarray(product.photo(number, defect, size=SIZE).image).save(buffer, "PNG")
        files[folder / subfolder / f"{number:03}{ending}.png"] = buffer.getvalue()
    for path, data in files.items():
        if path.exists() and path.read_bytes() != data:
            raise FileExistsError(f"{path} is another picture: name another folder with --out")
    for path, data in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def main() -> None:
    """Run `python -m goodparts.drawn`."""
    parser = Parser(prog="python -m goodparts.drawn", description="Draw photos of a part.")
    parser.add_argument("--out", type=Path, default=Path("photos"), metavar="DIR",
                        help="folder for the photos (default: %(default)s)")  # fmt: skip
    parser.add_argument("--kind", choices=KINDS, default="gear", help="kind of part (default: %(default)s)")
    parser.add_argument("--good", type=int, default=4, metavar="N", help="good photos in good/ (default: %(default)s)")
    parser.add_argument("--line", type=int, default=40, metavar="N",
                        help="parts in line/, every tenth of them bad (default: %(default)s)")  # fmt: skip
    parser.add_argument("--bad", type=int, default=6, metavar="N", help="bad parts in bad/ (default: %(default)s)")
    args = parser.parse_args()
    try:
        draw_photos(args.out, args.kind, args.good, args.line, args.bad)
    except OSError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    print(f"{args.out}: {args.good} photos in good/, {args.line} in line/, {args.bad} in bad/")


if __name__ == "__main__":
    main()
