"""The engine: the visual encoder as graph files for one backbone, what they are, and the plans compiled from them."""
