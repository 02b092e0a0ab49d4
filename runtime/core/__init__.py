"""The base of the runtime, in numpy and the C++ core: it reads pictures and scores features. No inference library is used."""
