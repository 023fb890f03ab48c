"""What to train: the neutral spec and its seeded initial state. Imports no framework.

`layers/`, `losses.py`, `optimizers.py` and `schedules.py` hold one frozen Struct per construct,
whose docstring is the normative formula; `model.py` joins them, infers shapes and counts parameters
and FLOPs; `initializers.py` and `init.py` draw the initial weights; `toml.py` reads files;
`shapes.py` has the types of the spec's numbers, `errors.py` what a user's mistake raises,
`sealed.py` files that show their damage; `zoo/` has models.
"""

from .errors import InputError
from .model import Cost, Model, Node, cost, read, zoo

__all__ = ["Cost", "InputError", "Model", "Node", "cost", "read", "zoo"]
