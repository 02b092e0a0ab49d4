"""The settings of PromptAD and their values in its two protocols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.scoring import Fusion, ImageMaximum
from msgspec import Meta

from ..settings import Protocol, change_settings

CLEAN_TEMPERATURE = 4.6052
"""The default multiplier of the cosine: ln 100, which the released code uses instead of CLIP's 100.

docs/promptad.md describes it as D10. With 100 the prompt score is so far below the memory's score that the harmonic
mean of both hardly depends on the memory.
"""


class PromptADSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The method's settings; docs/promptad.md lists where the paper and its released code differ."""

    prefix_length: Annotated[int, Meta(ge=1, description="tokens of a learnable prefix")] = 4
    image_prefixes: Annotated[int, Meta(ge=1, description="normal prompts at image level")] = 3
    pixel_prefixes: Annotated[int, Meta(ge=1, description="normal prompts at pixel level")] = 1
    learned_suffixes: Annotated[int, Meta(ge=0, description="learnable anomaly suffixes")] = 4
    suffix_length: Annotated[int, Meta(ge=1, description="tokens of a learnable suffix")] = 1
    suffix_place: Annotated[
        Literal["after", "before"],
        Meta(description="learnable suffix after the product text (paper) or before it"),
    ] = "after"
    pairing: Annotated[
        Literal["product", "cyclic"],
        Meta(description="pair prefixes with suffixes: each with each (product), or both lists in step (cyclic)"),
    ] = "product"
    temperature: Annotated[
        Literal["exp", "log"] | float,
        Meta(
            description='multiplier of the cosine: a number, "exp" for CLIP\'s own (100), or "log" for its logarithm '
            "(4.6)"
        ),
    ] = CLEAN_TEMPERATURE
    margin: Annotated[
        float | None,
        Meta(description="by how much good features must be nearer to the normal prototype; none turns the loss off"),
    ] = 0.0
    margin_distance: Annotated[Literal["euclidean", "squared"], Meta(description="distance in the margin loss")] = (
        "euclidean"
    )
    margin_axis: Annotated[Literal["channels", "second"], Meta(description="axis that the margin loss sums over")] = (
        "channels"
    )
    alignment_weight: Annotated[float, Meta(ge=0, description="weight of the alignment loss")] = 0.001
    image_maximum: Annotated[
        ImageMaximum,
        Meta(
            description="where the image score takes the memory's maximum: patch grid or 400×400 map; or top, "
            "the mean of the largest hundredth of the patches, for the memory only"
        ),
    ] = "grid"
    fusion: Annotated[
        Fusion,
        Meta(
            description="harmonic mean of both branches' raw scores (paper), the memory's distances weighted by the "
            "prompts' residual margins (residual), one branch only (prompt, memory), or as --subspace does (subspace)"
        ),
    ] = "residual"
    memory_share: Annotated[
        float,
        Meta(gt=0, le=1, description="share of the shots' patches to remember, the most different first"),
    ] = 1.0
    poses: Annotated[
        bool,
        Meta(
            description="also remember each shot in seven more poses, turned by quarters and mirrored; not for a part "
            "that is bad when turned or mirrored"
        ),
    ] = False
    steps: Annotated[int, Meta(ge=1, description="steps of learning")] = 100
    lr: Annotated[float, Meta(gt=0, description="highest learning rate")] = 0.002
    final_lr: Annotated[float, Meta(ge=0, description="learning rate at the end of the cosine")] = 1e-5
    momentum: Annotated[float, Meta(ge=0, lt=1, description="momentum of SGD")] = 0.9
    weight_decay: Annotated[float, Meta(ge=0, description="weight decay")] = 0.0005


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
"""Protocol → its settings. official reproduces the released code; docs/promptad.md lists where clean differs from the
paper, and why."""


def promptad_settings(protocol: Protocol, **changes: Any) -> PromptADSettings:
    """Return a protocol's settings with some fields changed.

    Args:
        protocol: The protocol.
        **changes: Field → its value.

    Raises:
        SettingsError: A value is out of range, or two settings contradict each other.
    """
    temperature = changes.get("temperature")
    if isinstance(temperature, int | float) and temperature <= 0:
        raise SettingsError(f"temperature {temperature}: a number above 0 is needed")
    settings = change_settings(PROTOCOLS[protocol], changes)
    if settings.image_maximum == "top" and settings.fusion not in ("memory", "subspace"):
        raise SettingsError(f"image_maximum top: for fusion memory or subspace, not {settings.fusion}")
    return settings
