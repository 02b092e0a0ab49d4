"""How well methods find defects, measured on data sets through the engine that will run them."""
