"""The frozen CLIP: backbones, and their image and text towers."""
