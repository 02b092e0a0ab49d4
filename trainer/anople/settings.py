"""The settings of AnoPLe; docs/anople.md lists the open questions that they answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.scoring import Fusion
from msgspec import Meta

from ..settings import change_settings

Coupling = Literal["both", "text-to-visual", "visual-to-text", "none"]


class AnoPLeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The method's settings; the defaults are those of `train-and-export --method anople`."""

    text_tokens: Annotated[int, Meta(ge=0, le=16, description="learnable text tokens per layer")] = 4
    visual_tokens: Annotated[int, Meta(ge=0, le=16, description="learnable visual tokens per layer")] = 4
    depth: Annotated[
        int, Meta(ge=1, description="layers that get prompts; at most as many as the shallower tower has")
    ] = 9
    coupling: Annotated[
        Coupling, Meta(description="which tower's prompts are also projected into the other's sequence")
    ] = "both"
    projection: Annotated[
        Literal["layer", "shared"], Meta(description="one projection for each layer, or one for all layers")
    ] = "layer"
    start: Annotated[
        Literal["normal", "words"],
        Meta(description='first text tokens drawn from Normal(0, 0.02), or those of "a photo of a"'),
    ] = "normal"
    visual_start: Annotated[
        Literal["patches", "normal"],
        Meta(
            description="visual tokens and prefix start beside the shots' average patch at their layer, or are drawn "
            "from Normal(0, 0.02)"
        ),
    ] = "patches"
    conditioning: Annotated[
        Literal["static"], Meta(description="prompts do not depend on the image, so text is encoded once")
    ] = "static"
    prefix: Annotated[
        Literal["tower", "none"],
        Meta(description="scale-aware prefix: a token of the visual tower's first layer, or none"),
    ] = "tower"
    tiles: Annotated[bool, Meta(description="train on the four tiles of a photo as well as on the whole photo")] = False
    anomaly_share: Annotated[
        float,
        Meta(ge=0, lt=1, description="share of photos that get a painted defect; at least one per step stays good"),
    ] = 0.5
    foreground: Annotated[
        bool, Meta(description="keep painted defects on the part, where it stands out from its background")
    ] = True
    variation: Annotated[
        float,
        Meta(ge=0, le=1, description="how much photos are turned, shifted and relit in training; 0 changes nothing"),
    ] = 0.5
    latent_noise: Annotated[
        float,
        Meta(
            ge=0,
            description="length of the noise that turns good photos' features, of length 1, into further anomalies "
            "before the decoder; 0 makes none, and below 0.5 they are hardly anomalous",
        ),
    ] = 0.0
    decoder: Annotated[
        Literal["light", "none"],
        Meta(description="1×1 and depth-wise convolutions on the patches, or the unchanged patches"),
    ] = "light"
    normalise_alignment: Annotated[
        bool, Meta(description="scale the sum of patches in the alignment loss to length 1")
    ] = True
    align: Annotated[Literal["anomalous", "all"], Meta(description="views that the alignment loss is taken over")] = (
        "anomalous"
    )
    alignment_weight: Annotated[float, Meta(ge=0, description="weight of the alignment loss")] = 0.1
    steps: Annotated[int, Meta(ge=1, description="steps of learning")] = 100
    lr: Annotated[float, Meta(gt=0, description="highest learning rate, reached after a tenth of the steps")] = 2e-3
    decoder_lr: Annotated[float, Meta(gt=0, description="highest learning rate of the decoder")] = 3e-4
    weight_decay: Annotated[float, Meta(ge=0, description="weight decay of AdamW")] = 5e-4
    memory: Annotated[
        Literal["prompted", "plain"],
        Meta(description="features that the memory holds: of the prompted pass, or of a second pass without prompts"),
    ] = "prompted"
    fusion: Annotated[
        Fusion,
        Meta(
            description="harmonic mean of both branches' raw scores (paper), the memory's distances weighted by the "
            "prompts' residual margins (residual), or one branch only, on the patch grid, before the map is smoothed"
        ),
    ] = "residual"
    poses: Annotated[
        bool,
        Meta(
            description="also remember the seven other turned and mirrored views of each shot; unsuitable for a part "
            "that is bad when turned or mirrored; memory and search time grow eightfold"
        ),
    ] = False
    image_maximum: Annotated[
        Literal["grid", "map"],
        Meta(description="where the image score takes the memory's maximum: patch grid or 400×400 map"),
    ] = "grid"
    temperature: Annotated[float, Meta(gt=0, description="multiplier of the cosine; CLIP's own is 100")] = 20.0
    local: Annotated[
        Literal["vv"], Meta(description="patches that the decoder reads in addition to the memory's: the V-V path's")
    ] = "vv"
    batch: Annotated[int, Meta(ge=2, description="photos per step, drawn uniformly over products, then over shots")] = 4
    recompute: Annotated[
        bool, Meta(description="compute the towers again for the gradient: less memory on a GPU, a third more time")
    ] = False


DEFAULT = AnoPLeSettings()


def anople_settings(**changes: Any) -> AnoPLeSettings:
    """Return the defaults with some fields changed.

    Args:
        **changes: Field → its value.

    Raises:
        SettingsError: A value is out of range, or two settings contradict each other.
    """
    settings = change_settings(DEFAULT, changes)
    projected = {"both": ("text", "visual"), "text-to-visual": ("text",), "visual-to-text": ("visual",), "none": ()}
    for tower in projected[settings.coupling]:
        if not getattr(settings, f"{tower}_tokens"):
            raise SettingsError(f"{tower}_tokens 0 with coupling {settings.coupling}: there is nothing to project")
    return settings
