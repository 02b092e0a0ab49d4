"""The studio, in which the person who knows a part teaches it as a product, in the browser.

A folder, the workspace, holds everything as ordinary files. The studio shows the files that are in it at the time.
"""
