"""Benchmarks of speed. If a benchmark names a peer, it measures the peer in the same run."""
