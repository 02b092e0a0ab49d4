"""The embedded CLIP, which users know as `small`: its towers, and the training that made its weights."""
