"""Good and bad photos in the gate: does a graph tell them apart as well as torch does?

Judged by the memory only, which needs no training: a few of the good photos fill it through the graph in question,
as they would on the line, and the others are scored against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from goodparts.runtime.backends.session import Precision, Session
from goodparts.runtime.backends.tensors import split_outputs
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
"""The memory features of one photo: one [tiles,P,W_i] for each tap."""


@dataclass(frozen=True, eq=False)
class LabelledPhotos:
    """Photos, uint8 [tiles,S,S,3] each, and how well torch tells them apart.

    folder: where they are; shots: those in the memory; good, bad: those that are scored against it; torch: image AUROC
    with torch's features.
    """

    folder: str
    shots: Sequence[Array8]
    good: Sequence[Array8]
    bad: Sequence[Array8]
    torch: float

    @classmethod
    def open(cls, folder: Path, backbone: Backbone, view: View | None = None) -> LabelledPhotos:
        """Read a folder with good/ and bad/, and score it with the backbone.

        view: what the encoder sees of a photo; the whole of it where None. Raises FileError where a folder is missing,
        SettingsError where there are too few good photos.
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

        def cut(paths: Iterable[Path]) -> list[Array8]:
            return [(view or View()).cut(load_rgb(path), backbone.encoder.image_size) for path in paths]

        shots, good_views, bad_views = cut(good[:count]), cut(good[count:]), cut(bad)
        torch = separation(lambda photo: backbone.encode(photo).memory, shots, good_views, bad_views)
        return cls(printable(folder), shots, good_views, bad_views, torch)

    def measure(self, session: Session, backend: str, precision: Precision) -> Labelled:
        """Return the record of an open graph.

        Raises ParityError where it loses more than its precision may, and more than one pair of a good and a bad photo
        weighs.
        """

        def memory(photo: Array8) -> Memory:
            _, _, taps = split_outputs(session.run(photo))
            return tuple(taps)

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
    """Return the image AUROC of the memory score: the share of pairs of a good and a bad photo that it orders rightly.

    memory: encodes a photo. The result is NaN where a score is.
    """
    banks = tuple(
        np.concatenate([tap.reshape(-1, tap.shape[-1]) for tap in taps])
        for taps in zip(*map(memory, shots), strict=True)
    )
    scores = [np.array([memory_scores(memory(photo), banks).max() for photo in photos]) for photos in (bad, good)]
    return float((np.sign(scores[0][:, None] - scores[1]) + 1).mean() / 2)
