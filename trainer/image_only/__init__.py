"""Image-only backbones: timm's ViTs and CNNs, which have no text tower."""
