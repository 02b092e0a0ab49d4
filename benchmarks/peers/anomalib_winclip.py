"""Run anomalib's WinCLIP. winclip_numbers.py starts this script with the Python of anomalib's environment.

The environment has no goodparts. The arguments are an open_clip configuration, its weights, a file with pictures and
prototypes, and the file to write. The script writes WinCLIP's results on the pictures, with the prototypes as WinCLIP's
text embeddings.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(config: Path, weights: Path, inputs: Path, out: Path) -> None:
    """Compute with WinCLIP and write the results.

    Args:
        config: An open_clip configuration, a JSON file.
        weights: The weights of that model, a file of safetensors.
        inputs: An .npz file with `pictures`, preprocessed float32 [n,3,S,S], of which the first is the query and the
            others are good, and `prototypes`, float32 [2,D].
        out: The .npz file to write.
    """
    import numpy as np
    import open_clip
    import torch
    from anomalib.models.image.winclip import torch_model
    from anomalib.models.image.winclip.utils import class_scores, harmonic_aggregation, visual_association_score
    from safetensors.torch import load_file

    open_clip.add_model_config(config)
    torch_model.BACKBONE, torch_model.PRETRAINED = config.stem, None
    model = torch_model.WinClipModel().eval()
    model.clip.load_state_dict(load_file(weights), strict=False)
    given = np.load(inputs)
    pictures, prototypes = torch.from_numpy(given["pictures"]), torch.from_numpy(given["prototypes"])
    query, reference = pictures[:1], pictures[1:]
    found = {}
    with torch.no_grad():
        model._text_embeddings = prototypes
        image, windows, _ = model.encode_image(query)
        _, remembered, _ = model.encode_image(reference)
        scores = class_scores(image, prototypes, model.temperature, target_class=1)
        found["image"], found["image_score"] = image, scores
        found["patch_scores"] = model._compute_zero_shot_scores(scores, windows)
        for side, of_query, of_reference, masks in zip(model.scales, windows, remembered, model.masks, strict=True):
            found[f"windows_{side}"] = of_query
            found[f"window_scores_{side}"] = class_scores(of_query, prototypes, model.temperature, target_class=1)
            distances = visual_association_score(of_query, of_reference)
            found[f"distances_{side}"] = harmonic_aggregation(distances, model.grid_size, masks)
    np.savez(out, temperature=model.temperature, **{name: value.numpy() for name, value in found.items()})


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
