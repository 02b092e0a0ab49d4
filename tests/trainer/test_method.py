"""The registry's methods, through the interface that the command uses."""

from __future__ import annotations

import pytest
from goodparts.runtime.core.errors import SettingsError
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.registry import METHODS


def test_promptad_needs_the_plain_graph_and_anople_a_prompted_one(vit: Backbone) -> None:
    promptad, anople = (METHODS[name].configure("clean", {}) for name in ("promptad", "anople"))
    assert promptad.prompted_encoder(vit) is None
    encoder = anople.prompted_encoder(vit)
    assert encoder is not None
    assert encoder.example().shapes == encoder.shapes


def test_the_encoders_own_side_comes_first() -> None:
    sides = {name: method.configure("clean", {}).shot_sides(192) for name, method in METHODS.items()}
    assert sides == {"promptad": (192,), "anople": (192, 384), "memory": (192,)}


def test_only_the_official_protocol_rewords_a_benchmark_object() -> None:
    method = METHODS["promptad"].configure("clean", {})
    text, suffixes = method.word("metal_nut", None, "official")
    assert (text, suffixes[-1]) == ("metal nut", "{} with scratch")
    assert method.word("metal_nut", None, "clean")[0] == "metal_nut"


def test_a_protocol_that_a_method_does_not_have_is_refused() -> None:
    with pytest.raises(SettingsError, match="AnoPLe has none"):
        METHODS["anople"].configure("official", {})
