"""The recipe: everything learned for one product, and how it is calibrated, changed and signed."""
