"""Independent implementations of the paper's algorithms, for tests only.

Nothing in this folder imports the package that it judges. See README.md.
"""
