"""The engine: what its folder holds, its open graphs, the plans built of them, and how far they are from torch."""
