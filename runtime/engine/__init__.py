"""The engine: the files in its folder, its open graphs, the plans built of them, and their difference from torch."""
