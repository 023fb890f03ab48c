"""The same nets by hand, as the best users of each framework write them."""
