"""What everything else stands on: pictures in, scores out, in numpy and the C++ core; no inference library."""
