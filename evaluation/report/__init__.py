"""The results of an evaluation as tables, CSV, JSON, Markdown and HTML."""
