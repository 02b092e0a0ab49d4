"""Good and bad photos in the gate: does a graph tell them apart as well as torch does?

Judged by the memory alone, which needs no training: a few of the good photos fill it through the graph in question,
as they would on the line, and the others are scored against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from goodparts.runtime.backends.session import Precision, Session
from goodparts.runtime.core.errors import FileError, ParityError, SettingsError
from goodparts.runtime.core.files import printable
from goodparts.runtime.core.image_files import find_images
from goodparts.runtime.core.preprocess import Array8, load_rgb
from goodparts.runtime.core.scoring import Floats, memory_scores
from goodparts.runtime.core.view import View
from goodparts.runtime.engine.parity import TOLERANCES
from goodparts.runtime.engine.spec import Labelled
from goodparts.trainer.clip.backbone import Backbone

SHOTS = 4
"""Good photos in the memory, or half of them where there are not so many."""

Memory = tuple[Floats, ...]
"""Of one photo: one [tiles,P,W_i] per tap."""


@dataclass(frozen=True, eq=False)
class LabelledPhotos:
    """Photos uint8 [tiles,S,S,3] each, in the memory and scored against it, and the image AUROC of torch on them."""

    folder: str
    shots: Sequence[Array8]
    good: Sequence[Array8]
    bad: Sequence[Array8]
    torch: float

    @classmethod
    def open(cls, folder: Path, backbone: Backbone, view: View | None = None) -> LabelledPhotos:
        """Read a folder with good/ and bad/, and score it with the backbone.

        view: what the encoder is shown of a photo; the whole of it where None.
        """
        for kind in ("good", "bad"):
            if not (folder / kind).is_dir():
                raise FileError(
                    f"{printable(folder)} has no folder {kind}: labelled photos lie in its folders good and bad"
                )
        good, bad = find_images([folder / "good"]), find_images([folder / "bad"])
        if len(good) < 2:
            raise SettingsError(
                f"{printable(folder / 'good')}: {len(good)} photo: at least 2 are needed, one for the memory and one "
                "to score"
            )
        count = min(SHOTS, len(good) // 2)

        def look(paths: Iterable[Path]) -> list[Array8]:
            return [(view or View()).cut(load_rgb(path), backbone.encoder.image_size) for path in paths]

        shots, others, worse = look(good[:count]), look(good[count:]), look(bad)
        torch = separation(lambda photo: backbone.encode(photo).memory, shots, others, worse)
        return cls(printable(folder), shots, others, worse, torch)

    def measure(self, session: Session, backend: str, precision: Precision) -> Labelled:
        """The record of an open graph; ParityError where it loses more than its precision may, and more than one pair
        of a good and a bad photo weighs."""

        def memory(photo: Array8) -> Memory:
            return tuple(session.run(photo)[2:])

        graph = separation(memory, self.shots, self.good, self.bad)
        tolerance = max(TOLERANCES[precision].auroc, 1 / (len(self.good) * len(self.bad)))
        if not self.torch - graph <= tolerance + 1e-9:  # a NaN fails, the last digit of a float does not
            raise ParityError(
                f"{precision} on {backend} has an image AUROC of {graph:.4f} on {self.folder}, torch has "
                f"{self.torch:.4f}: at most {tolerance:.2g} may be lost"
            )
        return Labelled(
            folder=self.folder,
            shots=len(self.shots),
            good=len(self.good),
            bad=len(self.bad),
            torch=self.torch,
            graph=graph,
            tolerance=tolerance,
        )


def separation(
    memory: Callable[[Array8], Memory], shots: Sequence[Array8], good: Sequence[Array8], bad: Sequence[Array8]
) -> float:
    """Image AUROC of the memory score: the share of pairs of a good and a bad photo that it orders rightly; NaN where
    a score is none."""
    banks = tuple(
        np.concatenate([tap.reshape(-1, tap.shape[-1]) for tap in taps])
        for taps in zip(*map(memory, shots), strict=True)
    )
    scores = [np.array([memory_scores(memory(photo), banks).max() for photo in photos]) for photos in (bad, good)]
    return float((np.sign(scores[0][:, None] - scores[1]) + 1).mean() / 2)
