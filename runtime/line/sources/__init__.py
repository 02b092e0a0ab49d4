"""The sources, from which the pictures of a line come."""
