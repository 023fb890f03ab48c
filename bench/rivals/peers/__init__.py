"""Libraries that train in plain Python and NumPy: what the NumPy backend is measured against.

One module per library, each in the environment of `backends/requirements/peers.txt`.
"""
