"""Measures on data sets how well methods find defects, through the engine that will run them."""
