"""How the NumPy backend computes: a plan per batch size, whose memory is allocated once.

A layer function gets the array that it will read and returns a `Step`: the array that it will
write, and two closures over them, `forward` and `backward`. Arrays are batch-last, [C, H, W, N] and
[D, N], so that what is done to each number runs over long rows, and a convolution is one product of
matrices; in which order the axes lie in memory is the business of the step that makes the array.
The formulas, without all this, are in `reference.py`; here, too, every function of that name
computes them.
"""
