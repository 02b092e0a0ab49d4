"""Benchmarks of speed. A named peer is measured in the same run, wherever there is one."""
