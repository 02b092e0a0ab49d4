"""Learn a product from photos of good parts and inspect others: teach_and_inspect.py GOOD TODAY, two folders."""

from __future__ import annotations

import sys
from pathlib import Path

from goodparts import Detector, teach


def main(good: str, today: str) -> None:
    """Print a line for each photo in the folder `today`, the worst first."""
    detector = Detector(teach(good, "part"))
    found = [(detector.predict(path), path) for path in sorted(Path(today).iterdir())]
    for inspection, path in sorted(found, key=lambda pair: -pair[0].score):
        places = ", ".join(f"{region.box}" for region in inspection.regions)
        print(f"{inspection.verdict:6}  {inspection.score:.2f}  {path.name}  {places}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
