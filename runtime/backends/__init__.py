"""Backends: inference libraries behind one small interface. Each library is imported only when it is used."""
