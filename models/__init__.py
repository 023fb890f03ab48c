"""What to train: the neutral spec and its seeded initial state. Imports no framework.

`layers.py`, `losses.py` and `optimizers.py` hold one frozen Struct per construct, whose docstring
is the normative formula; `model.py` joins them, infers shapes and counts parameters and FLOPs;
`initializers.py` and `init.py` draw the initial weights; `toml.py` reads files; `zoo/` has models.
"""

from .errors import InputError
from .model import Cost, Model, Node, cost, read, zoo

__all__ = ["Cost", "InputError", "Model", "Node", "cost", "read", "zoo"]
