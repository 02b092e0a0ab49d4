"""The studio: products are taught in the browser, by the person who knows the part.

All of it is ordinary files in a folder, the workspace: what lies there is what the studio shows.
"""
