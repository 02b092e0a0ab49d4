"""The live page of `goodparts watch`: what the line sees, and the few things that may be changed while it runs.

The page polls, over the standard library's HTTP server: a request a second is bounded and starts again by itself. As
whoever watches asks, nothing is drawn, encoded or sent while nobody does.
"""
