"""How fast goodparts is on this machine, always beside a named peer measured in the same run."""
