"""Synthetic parts and painted defects with exact masks, drawn with numpy and Pillow only."""
