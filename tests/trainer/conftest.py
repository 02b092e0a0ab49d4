"""open_clip's models at a fraction of their width: creating, drawing and hashing the real ones takes seconds."""

from __future__ import annotations

import open_clip
import pytest


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ViT-B-32 64 channels wide in its 12 layers, and all text towers one layer deep; RN50's image tower stays."""
    for name in ("ViT-B-32", "RN50", "RN50-quickgelu"):
        config = open_clip.get_model_config(name)
        assert config is not None
        config["text_cfg"] |= {"width": 64, "heads": 1, "layers": 1}
        if name == "ViT-B-32":
            config["embed_dim"] = 32
            config["vision_cfg"]["width"] = 64
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
