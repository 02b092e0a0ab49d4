"""Benchmarks of speed, each beside a named peer that is measured in the same run."""
