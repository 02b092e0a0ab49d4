"""The demo backbone: a small CLIP for a first run and for tests. Not for production."""
