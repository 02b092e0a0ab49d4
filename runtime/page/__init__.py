"""The live page of `goodparts watch`: it shows what the line inspects and allows a few changes while the line runs.

The browser polls an HTTP server of the standard library. A poll is bounded and recovers by itself after a failure.
Pictures are drawn, encoded and sent only when a browser asks for them.
"""
