"""The live page of `goodparts watch`: what the line sees, and the few things that may be changed while it runs.

Polling, over the standard library's HTTP server: a question a second is bounded, starts again by itself, and nobody
watches exactly when nobody asks. So nothing is drawn, encoded or sent for nobody.
"""
