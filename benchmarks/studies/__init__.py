"""Measurements that decide a design: thresholds, tiles, accepted photos."""
