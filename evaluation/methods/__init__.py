"""The methods that an evaluation compares: how each learns from a few good photos, and how it scores other photos."""
