"""A production line that runs for months: it inspects the pictures of its sources and delivers the results.

A frame's way is capture → queue → station → router → outlets. Each capture, station and outlet, and the router, is a
thread. open_line.py makes these parts and connects them, and line.py runs them.
"""
