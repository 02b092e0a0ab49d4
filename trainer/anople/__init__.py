"""AnoPLe-style learning: prompts coupled in both directions, trained on pseudo-anomalies, with a light decoder.

A reconstruction of arXiv 2408.13516: its authors published no code. docs/anople.md lists every assumption.
"""
