"""Image-only backbones: any of timm's ViTs and CNNs, whose features no text describes."""
