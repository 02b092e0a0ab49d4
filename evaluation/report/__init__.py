"""What was measured as tables, CSV, JSON, Markdown and HTML."""
