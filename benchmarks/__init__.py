"""Benchmarks of goodparts on this machine. A named peer is measured in the same run, wherever there is one."""
