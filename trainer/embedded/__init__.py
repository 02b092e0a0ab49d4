"""The embedded CLIP, `small` to its users: its towers, and the training that made its weights."""
