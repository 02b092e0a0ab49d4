"""The settings of PromptAD, and what its two protocols mean in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.scoring import Fusion, ImageMaximum
from msgspec import Meta

from ..settings import Protocol, change_settings

CLEAN_TEMPERATURE = 4.6052
"""The default multiplier of the cosine: ln 100, which the released code makes of CLIP's 100 (docs/promptad.md, D10).
With 100 itself the prompt score is so far below the memory's that the harmonic mean is the prompt score."""


class PromptADSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting of the method. docs/promptad.md lists where the paper and its released code differ."""

    prefix_length: Annotated[int, Meta(ge=1, description="tokens of a learnable prefix, E_N")] = 4
    image_prefixes: Annotated[int, Meta(ge=1, description="normal prompts at image level, N")] = 3
    pixel_prefixes: Annotated[int, Meta(ge=1, description="normal prompts at pixel level, N")] = 1
    learned_suffixes: Annotated[int, Meta(ge=0, description="learnable anomaly suffixes, L")] = 4
    suffix_length: Annotated[int, Meta(ge=1, description="tokens of a learnable suffix, E_A")] = 1
    suffix_place: Annotated[
        Literal["after", "before"],
        Meta(description="learnable suffix after (paper) or before the product text"),
    ] = "after"
    pairing: Annotated[Literal["product", "cyclic"], Meta(description="prefixes × suffixes, all pairs or cyclic")] = (
        "product"
    )
    temperature: Annotated[
        Literal["exp", "log"] | float,
        Meta(
            description='multiplier of the cosine: a number, "exp" of CLIP\'s logit scale (100), or the scale as it '
            'stands, "log"'
        ),
    ] = CLEAN_TEMPERATURE
    margin: Annotated[
        float | None, Meta(description="by how much normal features are nearer to the normal prototype; none: no loss")
    ] = 0.0
    margin_distance: Annotated[Literal["euclidean", "squared"], Meta(description="distance in the margin loss")] = (
        "euclidean"
    )
    margin_axis: Annotated[Literal["channels", "second"], Meta(description="axis the margin loss sums over")] = (
        "channels"
    )
    alignment_weight: Annotated[float, Meta(ge=0, description="λ of the alignment loss")] = 0.001
    image_maximum: Annotated[
        ImageMaximum,
        Meta(
            description="where the image score takes the memory's maximum: patch grid or 400×400 map; or top, "
            "the mean of the largest hundredth of the patches, for the memory alone"
        ),
    ] = "grid"
    fusion: Annotated[
        Fusion,
        Meta(
            description="fuse the branches' raw scores, weigh the memory's distances by the prompts' residual "
            "margins, or use one branch only"
        ),
    ] = "residual"
    memory_share: Annotated[
        float, Meta(gt=0, le=1, description="of the shots' patches to remember, the most different first (coreset)")
    ] = 1.0
    poses: Annotated[
        bool,
        Meta(
            description="remember each shot also in its seven other turned and mirrored views: not for a part that is "
            "bad when it lies otherwise; memory and its search grow eightfold, unless --memory-share bounds them"
        ),
    ] = False
    steps: Annotated[int, Meta(ge=1, description="steps of SGD over all shots")] = 100
    lr: Annotated[float, Meta(gt=0, description="learning rate at the start")] = 0.002
    final_lr: Annotated[float, Meta(ge=0, description="learning rate at the end of the cosine")] = 1e-5
    momentum: Annotated[float, Meta(ge=0, lt=1, description="of SGD")] = 0.9
    weight_decay: Annotated[float, Meta(ge=0, description="of SGD")] = 0.0005


PROTOCOLS: Mapping[Protocol, PromptADSettings] = {
    "clean": PromptADSettings(),
    "official": PromptADSettings(
        suffix_place="before",
        pairing="cyclic",
        temperature="log",
        fusion="paper",
        margin_distance="squared",
        margin_axis="second",
        image_maximum="map",
    ),
}
"""Protocol → its settings: official does what the released code does; docs/promptad.md lists where clean leaves the
paper, and why."""


def promptad_settings(protocol: Protocol, **changes: Any) -> PromptADSettings:
    """Return a protocol's settings with some fields changed.

    Raises:
        SettingsError: A value is out of range.
    """
    temperature = changes.get("temperature")
    if isinstance(temperature, int | float) and temperature <= 0:
        raise SettingsError(f"temperature {temperature}: a number above 0 is needed")
    settings = change_settings(PROTOCOLS[protocol], changes)
    if settings.image_maximum == "top" and settings.fusion not in ("memory", "subspace"):
        raise SettingsError(f"image_maximum top: for fusion memory or subspace, not {settings.fusion}")
    return settings
