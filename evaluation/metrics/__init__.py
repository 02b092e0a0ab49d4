"""Metrics of images and of pixels."""
