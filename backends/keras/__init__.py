"""Keras 3 on each of its engines: `tensorflow/`, `jax/` and `torch/` are an adapter each.

What they share lies beside them, and is Keras's own: `layers.py`, `losses.py`, `optimizers.py`, and
`network.py`, where the weights of a lowered model are found. What an engine does otherwise is in
its folder, in files of the same names: `operators.py`, `optimizers.py`, `trainer.py`. Images are
channels-last, as Keras has them unless it is told otherwise.

Keras reads its engine from the environment once, when it is imported: an adapter names its own
before it imports anything here.
"""
