"""A line that runs for months: pictures from sources, inspected, and their results handed on.

capture → queue → inspection → output, in threads of their own: see watch.Line.
"""
