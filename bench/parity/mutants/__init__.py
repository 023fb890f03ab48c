"""Who tests the comparison: backends that are wrong in a known way, one fault each.

A mutation is an edit of the reference's source, in one of the TOML files here; `mutations` reads
them and makes the mutants. `models` has the small models on which they show, and `selftest` lets
the ladder, and other comparators, judge them all.
"""
