"""The base of the runtime, in numpy and the C++ core, without inference libraries: pictures in, scores out."""
