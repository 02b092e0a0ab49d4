"""Where the pictures of a line come from."""
