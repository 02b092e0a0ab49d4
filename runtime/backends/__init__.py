"""Backends: inference libraries behind one small interface, each imported only when it is asked for."""
