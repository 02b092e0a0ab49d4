"""Where the results of a line go."""
