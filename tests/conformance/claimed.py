"""Evaluate checks of claims on a framework, in a process of its own: `python claimed.py torch`.

Checks come as JSON on standard input, what each gave goes as JSON to the last line of the output. A
check may use the framework's modules, and what asks each framework the same.
"""

from __future__ import annotations

import ast
import importlib
import json
import math
import sys
from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np


def namespace(framework: str) -> dict[str, Any]:
    """Return the names that a check of this framework may use."""
    own = {"torch": _torch, "keras": _keras, "paddle": _paddle, "mxnet": _mxnet, "jax": _jax}
    shared = (default, largest, near, raises, signature)
    names: dict[str, Any] = {function.__name__: function for function in shared}
    names |= {"np": np, "math": math}
    ask = own[framework]()
    return names | ask | {"slope": lambda f, x: float(ask["gradient"](f, np.array(float(x))))}


def default(function: Callable[..., Any], parameter: str) -> Any:
    return signature(function).parameters[parameter].default


def near(found: Any, expected: float, off: float = 1e-3) -> bool:
    """Whether a number is within a thousandth; within as much of zero, if that is expected."""
    return abs(float(found) - expected) <= off * (abs(expected) or 1)


def largest(tensor: Any) -> float:
    tensor = tensor.detach() if hasattr(tensor, "detach") else tensor
    array = tensor.asnumpy() if hasattr(tensor, "asnumpy") else np.asarray(tensor)
    return float(np.abs(array).max())


def raises(call: Callable[[], Any]) -> bool:
    try:
        call()
    except Exception:
        return True
    return False


# Of each framework: its modules, `gradient(f, x)`, that of the sum of f(x), and `steps(make,
# *gradients)`: where a weight of 1 is after each step of the optimizer that `make` makes.


def _torch() -> dict[str, Any]:
    import torch

    def gradient(f: Callable[..., Any], x: np.ndarray) -> np.ndarray:
        at = torch.tensor(x, dtype=torch.float32, requires_grad=True)
        f(at).sum().backward()
        return at.grad.numpy()

    def steps(make: Callable[..., Any], *gradients: float) -> list[float]:
        weight, found = torch.nn.Parameter(torch.ones(())), []
        optimizer = make([weight])
        for g in gradients:
            weight.grad = torch.tensor(float(g))
            optimizer.step()
            found.append(weight.item())
        return found

    nn = torch.nn
    modules = {"torch": torch, "nn": nn, "F": nn.functional, "init": nn.init, "optim": torch.optim}
    return modules | {"gradient": gradient, "steps": steps}


def _keras() -> dict[str, Any]:
    import keras
    import tensorflow as tf

    def gradient(f: Callable[..., Any], x: np.ndarray) -> np.ndarray:
        at = tf.Variable(x, dtype=tf.float32)
        with tf.GradientTape() as tape:
            y = tf.reduce_sum(f(tf.convert_to_tensor(at)))
        return tape.gradient(y, at).numpy()

    def steps(make: Callable[..., Any], *gradients: float) -> list[float]:
        weight, optimizer, found = keras.Variable(1.0), make(), []
        for g in gradients:
            optimizer.apply([tf.constant(float(g))], [weight])
            found.append(float(weight.numpy()))
        return found

    def built(layer: Any, *shape: int) -> Any:
        layer.build(shape)
        return layer

    modules = {"keras": keras, "tf": tf, "layers": keras.layers, "optimizers": keras.optimizers}
    return modules | {"gradient": gradient, "steps": steps, "built": built}


def _paddle() -> dict[str, Any]:
    import paddle

    def gradient(f: Callable[..., Any], x: np.ndarray) -> np.ndarray:
        at = paddle.to_tensor(x, "float32", stop_gradient=False)
        f(at).sum().backward()
        return at.grad.numpy()

    def steps(make: Callable[..., Any], *gradients: float) -> list[float]:
        weight, found = drawn(paddle.nn.initializer.Constant(1.0), 1), []
        optimizer = make([weight])
        for g in gradients:
            (weight * float(g)).sum().backward()
            optimizer.step()
            optimizer.clear_grad()
            found.append(weight.item())
        return found

    def drawn(initializer: Any, *shape: int) -> Any:
        return paddle.create_parameter(shape, "float32", default_initializer=initializer)

    nn = paddle.nn
    modules = {"paddle": paddle, "nn": nn, "F": nn.functional, "optimizer": paddle.optimizer}
    return modules | {"gradient": gradient, "steps": steps, "drawn": drawn}


def _mxnet() -> dict[str, Any]:
    mx = importlib.import_module("mxnet")
    nd, gluon = mx.nd, mx.gluon

    def gradient(f: Callable[..., Any], x: np.ndarray) -> np.ndarray:
        at = nd.array(np.atleast_1d(x))
        at.attach_grad()
        with mx.autograd.record():
            y = f(at)
        y.backward()
        return at.grad.asnumpy().reshape(x.shape)

    def steps(make: Callable[..., Any], *gradients: float) -> list[float]:
        weight, optimizer, found = nd.ones(1), make(), []
        state = optimizer.create_state(0, weight)
        for g in gradients:
            optimizer.update(0, weight, g * nd.ones(1), state)
            found.append(weight.asscalar())
        return found

    def initialized(block: Any) -> Any:
        block.initialize()
        return block

    modules = {"mx": mx, "nd": nd, "gluon": gluon, "nn": gluon.nn}
    return modules | {"gradient": gradient, "steps": steps, "initialized": initialized}


def _jax() -> dict[str, Any]:
    import jax
    import optax
    from jax import lax
    from jax import numpy as jnp

    def gradient(f: Callable[..., Any], x: np.ndarray) -> np.ndarray:
        return np.asarray(jax.grad(lambda at: jnp.sum(f(at)))(jnp.asarray(x, jnp.float32)))

    def steps(make: Callable[..., Any], *gradients: float) -> list[float]:
        weight, optimizer, found = jnp.ones((), jnp.float32), make(), []
        state = optimizer.init(weight)
        for g in gradients:
            update, state = optimizer.update(jnp.float32(g), state, weight)
            weight = optax.apply_updates(weight, update)
            found.append(float(weight))
        return found

    modules = {"jax": jax, "jnp": jnp, "lax": lax, "optax": optax, "key": jax.random.key(0)}
    return modules | {"gradient": gradient, "steps": steps}


def _evaluate(check: str, names: dict[str, Any]) -> Any:
    """Run the statements of a check, and return the value of the expression that ends it."""
    *statements, last = ast.parse(check.strip()).body
    assert isinstance(last, ast.Expr)
    own = dict(names)
    exec(compile(ast.Module(statements, []), "check", "exec"), own)
    return eval(compile(ast.Expression(last.value), "check", "eval"), own)


def _found(check: str, names: dict[str, Any]) -> str:
    try:
        value = _evaluate(check, names)
        return repr(value.item() if hasattr(value, "item") else value)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    names = namespace(sys.argv[1])
    sys.stdout.write(json.dumps([_found(check, names) for check in json.load(sys.stdin)]))
