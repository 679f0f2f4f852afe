"""Mutation testing: small faults are planted in the package, and the tests must find each.

`make mutants` runs it, see `python -m tests.mutation --help`; it is no part of the test run.
"""
