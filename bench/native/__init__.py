"""The same nets by hand: what the best users of each framework write, to measure adapters against."""
