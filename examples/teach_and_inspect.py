"""Learn a product from a folder of photos of good parts, and inspect the photos of another folder.

teach_and_inspect.py GOOD TODAY
"""

from __future__ import annotations

import sys
from pathlib import Path

from goodparts import Detector, teach


def main(good: str, today: str) -> None:
    """Print a line for each photo of a folder, the worst first: verdict, score, name, and boxes of suspicious regions.

    Args:
        good: The folder of photos to learn from.
        today: The folder of photos to inspect.
    """
    detector = Detector(teach(good, "part"))
    found = [(detector.predict(path), path) for path in sorted(Path(today).iterdir())]
    for inspection, path in sorted(found, key=lambda pair: -pair[0].score):
        places = ", ".join(f"{region.box}" for region in inspection.regions)
        print(f"{inspection.verdict:6}  {inspection.score:.2f}  {path.name}  {places}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: teach_and_inspect.py GOOD TODAY (two folders of photos)")
    main(*sys.argv[1:])
