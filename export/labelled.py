"""Good and bad photos in the gate: whether a graph tells them apart as well as torch does.

The photos are scored by the memory only, which needs no training. A few good photos fill the memory through the graph
that is checked, as on a line, and all other photos are scored against this memory.
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
"""The number of good photos in the memory, or half of the good photos if there are fewer than twice as many."""

Memory = tuple[Floats, ...]
"""The memory features of one photo: one [tiles,P,W_i] for each tap."""


@dataclass(frozen=True, eq=False)
class LabelledPhotos:
    """Labelled photos, uint8 [tiles,S,S,3] each, and how well torch tells them apart.

    Attributes:
        folder: The photos' folder, for messages.
        shots: The good photos in the memory.
        good: The good photos that are scored against it.
        bad: The bad photos that are scored against it.
        torch: The image AUROC with torch's features, 0 to 1.
    """

    folder: str
    shots: Sequence[Array8]
    good: Sequence[Array8]
    bad: Sequence[Array8]
    torch: float

    @classmethod
    def open(cls, folder: Path, backbone: Backbone, view: View | None = None) -> LabelledPhotos:
        """Read a folder with good/ and bad/, and score it with the backbone.

        Args:
            folder: The folder.
            backbone: The backbone.
            view: Which part of a photo is inspected, and in how many tiles; None for the whole photo.

        Returns:
            The photos.

        Raises:
            FileError: A folder or its photos are missing.
            SettingsError: There are fewer than two good photos.
            ImageError: A photo cannot be read.
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
        """Return the record of a graph on a backend.

        Args:
            session: The open graph.
            backend: The backend's name.
            precision: The graph's precision.

        Raises:
            ParityError: The graph's image AUROC is too far below torch's: by more than the precision's tolerance, and
                by more than the weight of one pair of a good and a bad photo.
        """

        def memory(photo: Array8) -> Memory:
            _, _, taps = split_outputs(session.run(photo))
            return tuple(taps)

        graph = separation(memory, self.shots, self.good, self.bad)
        tolerance = max(TOLERANCES[precision].auroc, 1 / (len(self.good) * len(self.bad)))
        if not self.torch - graph <= tolerance + 1e-9:  # a NaN fails; a rounding error does not
            raise ParityError(
                f"{precision} on {backend} has an image AUROC of {graph:.4f} on {self.folder}, torch has "
                f"{self.torch:.4f}: the graph's may be lower by at most {tolerance:.2g}"
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
    """Return the image AUROC of the memory score, 0 to 1.

    It is the share of pairs of a good and a bad photo whose scores are in the right order. If a score is NaN, so is the
    AUROC.

    Args:
        memory: Encodes a photo's views to memory features.
        shots: The good photos in the memory, uint8 [tiles,S,S,3] each.
        good: The good photos that are scored.
        bad: The bad photos that are scored.
    """
    banks = tuple(
        np.concatenate([tap.reshape(-1, tap.shape[-1]) for tap in taps])
        for taps in zip(*map(memory, shots), strict=True)
    )
    scores = [np.array([memory_scores(memory(photo), banks).max() for photo in photos]) for photos in (bad, good)]
    return float((np.sign(scores[0][:, None] - scores[1]) + 1).mean() / 2)
