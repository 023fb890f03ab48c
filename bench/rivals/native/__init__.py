"""The same nets trained by hand in each framework, with no code of ours: the speed to reach."""
