"""A production line that runs for months: pictures from sources are inspected, and their results handed on.

capture → queue → station → router → outlets, in threads of their own: open_line.py puts them together, line.py runs
them.
"""
