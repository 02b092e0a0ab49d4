"""The frozen CLIP: backbones, their image and text towers, and the small one that is embedded."""
