"""Benchmarks of goodparts on this machine. If a benchmark names a peer, it measures the peer in the same run."""
