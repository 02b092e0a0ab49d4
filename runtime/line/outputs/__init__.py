"""The outputs, to which the results of a line go."""
