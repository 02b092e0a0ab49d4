"""open_clip's own names at a fraction of their width: creating, drawing and hashing the real weights takes seconds."""

from __future__ import annotations

import open_clip
import pytest


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """ViT-B-32 has its 12 layers, of 64 channels; RN50 its image tower; the text towers have one layer."""
    for name in ("ViT-B-32", "RN50", "RN50-quickgelu"):
        config = open_clip.get_model_config(name)
        assert config is not None
        config["text_cfg"] |= {"width": 64, "heads": 1, "layers": 1}
        if name == "ViT-B-32":
            config["embed_dim"] = 32
            config["vision_cfg"]["width"] = 64
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
