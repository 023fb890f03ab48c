"""The ways in which a backend goes wrong, as edits of the reference's source.

Most are what some framework does by default, or did: the docstrings in `models` say which. Each is
a mutant that the ladder must catch (`selftest`); and each that has words is a suspect, with which
the oracle is run again when a backend fails (`ablation`).
"""

from __future__ import annotations

import inspect
from functools import cached_property
from types import ModuleType
from typing import Any

from msgspec import Struct

from ...backends import reference
from ...backends.contract import DType
from ...models import Model
from ...models.layers import (
    GELU,
    GRU,
    LSTM,
    AvgPool2D,
    BatchNorm,
    Conv1D,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    HardSigmoid,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    MultiHeadAttention,
    SimpleRNN,
)
from ...models.losses import MSE, Huber, SoftmaxCrossEntropy
from ...models.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
from .ladder import RungName

Edits = dict[str, dict[str, str]]  # function or class of the reference -> old text -> new text

LEAK = "something is computed in float32"


class Mutation(Struct, frozen=True, kw_only=True, dict=True):
    """One way to go wrong.

    `words` complete "matches if ..."; they are empty where the oracle cannot imitate it, as with a
    result that is read too early. `rung` is the first that must fail, on the model `host` and in
    each of `dtypes`. `of` are the specs that it is about: one of them is in a model, or it has no
    effect there.
    """

    name: str
    words: str = ""
    rung: RungName
    host: str
    of: tuple[type, ...] = ()
    edits: Edits
    dtypes: tuple[DType, ...] = ("float64", "float32")

    def applies(self, model: Model) -> bool:
        """Return whether it can have an effect on this model."""
        specs = [model.loss, model.optimizer, *(node.layer for node in model.walk())]
        return not self.of or any(isinstance(spec, self.of) for spec in specs)

    @cached_property
    def adapter(self) -> Any:
        """The reference with this about it changed: a module of its own."""
        return _edited(self.edits)


def _edited(edits: Edits) -> ModuleType:
    source = inspect.getsource(reference)
    for place, changes in edits.items():
        old = new = inspect.getsource(getattr(reference, place))
        for before, after in changes.items():
            assert before in new, f"{place} has no {before}"
            new = new.replace(before, after)
        source = source.replace(old, new)
    module = ModuleType(reference.__name__)
    module.__package__ = reference.__package__
    exec(compile(source, f"{reference.__file__}, edited", "exec"), module.__dict__)
    return module


_WEIGHTS = (
    Mutation(
        name="weights-in-half-precision",
        rung="weights",
        host="momentum",
        edits={"_Trainer": {"weights[name].astype(": "weights[name].astype(np.float16).astype("}},
    ),
    Mutation(
        name="biases-start-at-zero",
        rung="weights",
        host="momentum",
        edits={
            "_Trainer": {
                "weights[name].astype(dtype)": "weights[name].astype(dtype)"
                ' * (not name.endswith("bias"))'
            }
        },
    ),
    Mutation(
        name="weights-read-in-native-layout",
        rung="weights",
        host="square",
        edits={"_Trainer": {"weight.copy()": "weight.T.copy()"}},
    ),
    Mutation(
        name="weights-handed-out-as-views",
        rung="weights",
        host="momentum",
        edits={"_Trainer": {"weight.copy()": "weight"}},
    ),
)

_BATCHES = (
    Mutation(
        name="batch-permuted",
        words="the samples of a batch are in reverse order",
        rung="forward",
        host="momentum",
        edits={
            "_Trainer": {
                "return x, y, masks": "return x[::-1], y[::-1], "
                "masks and {name: mask[::-1] for name, mask in masks.items()}"
            }
        },
    ),
    Mutation(
        name="labels-permuted",
        words="a label is that of the sample before",
        rung="loss",
        host="momentum",
        edits={"_Trainer": {"return x, y, masks": "return x, np.roll(y, 1, axis=0), masks"}},
    ),
    Mutation(
        name="label-off-by-one",
        words="every label is one too high",
        rung="loss",
        host="momentum",
        of=(SoftmaxCrossEntropy,),
        edits={"softmax_cross_entropy": {"q[rows, y]": "q[rows, (y + 1) % z.shape[1]]"}},
    ),
    Mutation(
        name="last-batch-dropped",
        rung="trajectory",
        host="momentum",
        edits={"_Trainer": {"in batches]": "in batches[: max(1, len(batches) - 1)]]"}},
    ),
)

_TRAINER = (
    Mutation(
        name="update-applied-twice",
        words="every update is applied twice",
        rung="step",
        host="momentum",
        edits={
            "take_step": {
                "clip(optimizer, gradients).items()": "2 * list(clip(optimizer, gradients).items())"
            }
        },
    ),
    Mutation(
        name="parameter-frozen",
        rung="step",
        host="momentum",
        edits={
            "take_step": {
                "clip(optimizer, gradients).items()": "list(clip(optimizer, gradients).items())[1:]"
            }
        },
    ),
    Mutation(
        name="synchronisation-missing",
        rung="step",
        host="momentum",
        edits={
            "_Trainer": {
                "for name, weight in self._weights.items()}": "for name, weight in "
                'getattr(self, "_before", self._weights).items()}',
                "take_step(": "self._before = self.weights() and {n: w.copy() for n, w in "
                "self._weights.items()}\n        take_step(",
            }
        },
    ),
    Mutation(
        name="gradients-move-statistics",
        rung="step",
        host="images",
        edits={
            "_Trainer": {
                "gradients, _ = self._loss_and_gradients(*batch)": "gradients, moved = "
                "self._loss_and_gradients(*batch)\n        self._weights |= moved"
            }
        },
    ),
    Mutation(
        name="loss-after-the-update",
        rung="step",
        host="momentum",
        edits={"_Trainer": {"return loss\n": "return self._loss_and_gradients(x, y, masks)[0]\n"}},
    ),
    Mutation(
        name="step-counted-from-one",
        rung="step",
        host="momentum",
        edits={"_Trainer": {"np.array(self._step)": "np.array(self._step + 1)"}},
    ),
    Mutation(
        name="schedule-ahead",
        words="the rate is that of the next step",
        rung="step",
        host="momentum",
        edits={"take_step": {"optimizer.rate(step)": "optimizer.rate(step + 1)"}},
    ),
    Mutation(
        name="schedule-ignored",
        words="the rate is constant",
        rung="trajectory",
        host="momentum",
        edits={"take_step": {"optimizer.rate(step)": "optimizer.learning_rate"}},
    ),
    Mutation(
        name="evaluation-in-training-mode",
        words="evaluation is in training mode",
        rung="evaluation",
        host="images",
        edits={"_Trainer": {"training=False": "training=True"}},
    ),
    Mutation(
        name="output-stale",
        rung="evaluation",
        host="momentum",
        edits={
            "_Trainer": {
                "dtype) for name in model.weights}": "dtype) for name in model.weights}\n"
                "        self._first = self.weights()",
                "masks=None)\n": "masks=None)._replace(weights=self._first)\n",
            }
        },
    ),
    Mutation(
        name="output-has-a-nan",
        rung="evaluation",
        host="momentum",
        edits={
            "_Trainer": {
                "return _sequence(self._model.nodes, x, run)[0]": "y = _sequence(self._model.nodes"
                ", x, run)[0]\n        y.flat[0] = np.nan\n        return y"
            }
        },
    ),
)

_DTYPES = (
    Mutation(
        name="float32-inside",
        words=LEAK,
        rung="forward",
        host="momentum",
        of=(Dense,),
        edits={
            "dense": {
                "x @ weight.T": "(x.astype(np.float32) @ weight.T.astype(np.float32))"
                ".astype(x.dtype)"
            }
        },
        dtypes=("float64",),
    ),
    Mutation(
        name="float32-handed-out",
        rung="evaluation",
        host="momentum",
        edits={
            "_Trainer": {
                "x, run)[0]\n": "x, run)[0].astype(np.float32)\n",
            }
        },
        dtypes=("float64",),
    ),
    Mutation(
        name="float64-handed-out",
        rung="gradients",
        host="momentum",
        edits={
            "_Trainer": {
                "return float(loss), gradients": "return float(loss), "
                "{n: g.astype(np.float64) for n, g in gradients.items()}"
            }
        },
        dtypes=("float32",),
    ),
)

_ADAM = (
    Mutation(
        name="adam-epsilon-times-ten",
        words="epsilon is ten times as large",
        rung="step",
        host="adam",
        of=(Adam, AdamW),
        edits={"_adam_step": {"optimizer.epsilon": "10 * optimizer.epsilon"}},
    ),
    Mutation(
        name="adam-epsilon-hat",
        words="epsilon is inside the bias correction",
        rung="step",
        host="adam",
        of=(Adam, AdamW),
        edits={
            "_adam_step": {
                "optimizer.epsilon": "optimizer.epsilon / np.sqrt(1 - optimizer.beta2**t)"
            }
        },
    ),
    Mutation(
        name="adam-epsilon-in-the-root",
        words="epsilon is inside the root",
        rung="step",
        host="adam",
        of=(Adam, AdamW),
        edits={"_adam_step": {"(vhat) + optimizer.epsilon": "(vhat + optimizer.epsilon)"}},
    ),
    Mutation(
        name="adam-without-bias-correction",
        words="there is no bias correction",
        rung="step",
        host="adam",
        of=(Adam, AdamW),
        edits={
            "_adam_step": {
                "m / (1 - optimizer.beta1**t)": "m",
                "v / (1 - optimizer.beta2**t)": "v",
            }
        },
    ),
    Mutation(
        name="adam-bias-correction-off-by-one",
        words="the bias correction is a step ahead",
        rung="step",
        host="adam",
        of=(Adam, AdamW),
        edits={"_adam_step": {"**t": "**(t + 1)"}},
    ),
    Mutation(
        name="adam-betas-in-float32",
        words="the betas are rounded to float32",
        rung="step",
        host="adamw",
        of=(Adam, AdamW),
        edits={
            "_adam_step": {
                "optimizer.beta1": "float(np.float32(optimizer.beta1))",
                "optimizer.beta2": "float(np.float32(optimizer.beta2))",
            }
        },
    ),
)

_DECAY = (
    Mutation(
        name="decay-coupled",
        words="the decay is coupled",
        rung="step",
        host="adamw",
        of=(AdamW,),
        edits={
            "adamw": {
                "w *= 1 - rate * optimizer.weight_decay": "g = "
                "_decayed(g, w, optimizer.weight_decay)"
            }
        },
    ),
    Mutation(
        name="decay-decoupled",
        words="the decay is decoupled",
        rung="step",
        host="adam-decay",
        of=(SGD, Adam, RMSprop, Adagrad),
        edits={
            "take_step": {
                "update(optimizer,": "weights[name] *= 1 - rate * optimizer.weight_decay\n"
                "        update(optimizer,"
            },
            "_decayed": {"g + weight_decay * w if weight_decay else g": "g"},
        },
    ),
    Mutation(
        name="decay-without-the-rate",
        words="the decay is not multiplied by the rate",
        rung="step",
        host="adamw",
        of=(AdamW,),
        edits={"adamw": {"rate * optimizer.weight_decay": "optimizer.weight_decay"}},
    ),
    Mutation(
        name="decay-after-the-update",
        words="the decay falls after the update",
        rung="step",
        host="adamw",
        of=(AdamW,),
        edits={
            "adamw": {
                "    w *= 1 - rate * optimizer.weight_decay\n": "",
                "t, rate)\n": "t, rate)\n    w *= 1 - rate * optimizer.weight_decay\n",
            }
        },
    ),
    Mutation(
        name="decay-spares-biases",
        words="the decay spares vectors",
        rung="step",
        host="adam-decay",
        edits={
            "_decayed": {"if weight_decay": "if weight_decay and w.ndim > 1"},
            "adamw": {"rate * optimizer": "(w.ndim > 1) * rate * optimizer"},
        },
    ),
)

_OPTIMIZERS = (
    Mutation(
        name="momentum-with-the-rate-inside",
        words="the rate is inside the momentum",
        rung="trajectory",
        host="momentum",
        of=(SGD,),
        edits={
            "sgd": {
                "v *= optimizer.momentum": "v *= optimizer.momentum"
                " * optimizer.rate(max(t - 2, 0)) / rate"
            }
        },
    ),
    Mutation(
        name="velocity-with-the-rate-inside",
        words="the rate is inside the velocity",
        rung="step",
        host="nesterov",
        of=(SGD,),
        edits={
            "sgd": {
                "v += g": "g = rate * g\n        v += g",
                "w -= rate * g": "w -= g if optimizer.momentum else rate * g",
            }
        },
    ),
    Mutation(
        name="momentum-dampened",
        words="the momentum is an average",
        rung="step",
        host="momentum",
        of=(SGD,),
        edits={"sgd": {"v += g": "v += (1 - optimizer.momentum) * g"}},
    ),
    Mutation(
        name="nesterov-ignored",
        words="nesterov is ignored",
        rung="step",
        host="nesterov",
        of=(SGD,),
        edits={"sgd": {"if optimizer.nesterov": "if False"}},
    ),
    Mutation(
        name="rmsprop-epsilon-outside-the-root",
        words="epsilon is outside the root",
        rung="step",
        host="rmsprop",
        of=(RMSprop,),
        edits={"rmsprop": {"np.sqrt(s + optimizer.epsilon)": "(np.sqrt(s) + optimizer.epsilon)"}},
    ),
    Mutation(
        name="adagrad-epsilon-outside-the-root",
        words="epsilon is outside the root",
        rung="step",
        host="adagrad",
        of=(Adagrad,),
        edits={"adagrad": {"np.sqrt(s + optimizer.epsilon)": "(np.sqrt(s) + optimizer.epsilon)"}},
    ),
    Mutation(
        name="adagrad-starts-at-a-tenth",
        words="the sum of squares starts at 0.1",
        rung="step",
        host="adagrad",
        of=(Adagrad,),
        edits={"adagrad": {"s += g * g": "s += g * g + 0.1 * (t == 1)"}},
    ),
    Mutation(
        name="clip-norm-per-weight",
        words="the norm that is clipped is each weight's own",
        rung="step",
        host="clipped",
        edits={
            "clip": {
                "if optimizer.clip_norm:": "if optimizer.clip_norm and len(gradients) > 1:\n"
                "        return {n: clip(optimizer, {n: g})[n] for n, g in gradients.items()}\n"
                "    if optimizer.clip_norm:"
            }
        },
    ),
    Mutation(
        name="clip-norm-with-an-epsilon",
        words="1e-6 is added to the norm that is clipped",
        rung="step",
        host="clipped",
        edits={"clip": {"optimizer.clip_norm / norm": "optimizer.clip_norm / (norm + 1e-6)"}},
    ),
)

_LOSSES = (
    Mutation(
        name="loss-summed",
        words="the loss is the sum over the batch",
        rung="loss",
        host="momentum",
        edits={
            "_Trainer": {
                "return loss, backprop(dlogits)": "return loss * loss.dtype.type(len(x)), "
                "backprop(dlogits * len(x))"
            }
        },
    ),
    Mutation(
        name="gradient-summed",
        words="the gradient is the sum over the batch",
        rung="gradients",
        host="momentum",
        edits={"_Trainer": {"backprop(dlogits)": "backprop(dlogits * len(x))"}},
    ),
    Mutation(
        name="softmax-twice",
        words="the loss takes the softmax of a softmax",
        rung="loss",
        host="momentum",
        of=(SoftmaxCrossEntropy,),
        edits={
            "softmax_cross_entropy": {
                "rows = ": "p = z = _softmax(z)\n    rows = ",
                "return np.mean(losses), (": "d = (",
                "/ len(z)\n": "/ len(z)\n    return np.mean(losses), "
                "p * (d - (d * p).sum(axis=1, keepdims=True))\n",
            }
        },
    ),
    Mutation(
        name="label-smoothing-ignored",
        words="label smoothing is ignored",
        rung="loss",
        host="smoothed",
        of=(SoftmaxCrossEntropy,),
        edits={"softmax_cross_entropy": {"smooth = loss.label_smoothing": "smooth = 0"}},
    ),
    Mutation(
        name="label-smoothing-spares-the-label",
        words="label smoothing is shared among the other classes",
        rung="loss",
        host="smoothed",
        of=(SoftmaxCrossEntropy,),
        edits={
            "softmax_cross_entropy": {
                "smooth / z.shape[1]": "smooth / (z.shape[1] - 1)",
                "q[rows, y] += ": "q[rows, y] = ",
            }
        },
    ),
    Mutation(
        name="mse-halved",
        words="the squares are halved",
        rung="loss",
        host="squares",
        of=(MSE,),
        edits={"mse": {"np.mean(d * d), 2 * d / d.size": "np.mean(d * d) / 2, d / d.size"}},
    ),
    Mutation(
        name="huber-divided-by-delta",
        words="the loss is divided by delta",
        rung="loss",
        host="clipped",
        of=(Huber,),
        edits={
            "huber": {
                "np.mean(inner * (d - inner / 2)), inner": "np.mean(inner * (d - inner / 2)) "
                "/ loss.delta, inner / loss.delta"
            }
        },
    ),
)

_CONVOLUTIONS = (
    Mutation(
        name="same-padded-at-the-wrong-end",
        words="same is padded at the other end",
        rung="forward",
        host="images",
        of=(Conv1D, Conv2D),
        edits={
            "conv1d": {
                "*layer.pads(node.input_shape)": "*(p[::-1] for p in layer.pads(node.input_shape))"
            },
            "conv2d": {
                "layer.pads(node.input_shape)": "[p[::-1] for p in layer.pads(node.input_shape)]"
            },
        },
    ),
    Mutation(
        name="convolution-flipped",
        words="the kernel is flipped",
        rung="forward",
        host="images",
        of=(Conv1D, Conv2D),
        edits={
            "_convolve": {
                "weight.reshape(groups": "weight[..., ::-1, ::-1].reshape(groups",
                "dweight.reshape(weight.shape)": "dweight.reshape(weight.shape)[..., ::-1, ::-1]",
            }
        },
    ),
    Mutation(
        name="transposed-convolution-flipped",
        words="the transposed convolution's kernel is flipped",
        rung="forward",
        host="images",
        of=(ConvTranspose2D,),
        edits={
            "conv_transpose2d": {
                "weight.reshape(len": "weight[..., ::-1, ::-1].reshape(len",
                "dweight.reshape(weight.shape)": "dweight.reshape(weight.shape)[..., ::-1, ::-1]",
            }
        },
    ),
    Mutation(
        name="average-pool-with-the-border",
        words="average pooling treats its border the other way",
        rung="forward",
        host="images",
        of=(AvgPool2D,),
        edits={"avg_pool2d": {"if not node": "if node"}},
    ),
    Mutation(
        name="max-pool-padded-with-zeros",
        words="max pooling is padded with zeros",
        rung="forward",
        host="images",
        of=(MaxPool2D,),
        edits={"max_pool2d": {"_pad(x, pads, -np.inf)": "_pad(x, pads, 0)"}},
    ),
    Mutation(
        name="max-pool-gradient-to-every-tie",
        words="every maximum of a window takes the gradient",
        rung="gradients",
        host="ties",
        of=(MaxPool2D,),
        edits={"max_pool2d": {"(window == y) & unclaimed": "window == y"}},
    ),
    Mutation(
        name="flatten-channels-last",
        words="flatten puts the channels last",
        rung="forward",
        host="images",
        of=(Flatten,),
        edits={
            "flatten": {
                "return x.reshape(len(x), -1)": "x = np.moveaxis(x, 1, -1)\n"
                "    return x.reshape(len(x), -1)",
                "(dy.reshape(x.shape), {})": "(np.moveaxis(dy.reshape(x.shape), -1, 1), {})",
            }
        },
    ),
)

_NORMALISATION = (
    Mutation(
        name="batch-norm-momentum-inverted",
        words="batch norm's momentum is the weight of the old",
        rung="step",
        host="images",
        of=(BatchNorm,),
        edits={
            "batch_norm": {
                "(1 - layer.momentum) *": "layer.momentum *",
                "+ layer.momentum *": "+ (1 - layer.momentum) *",
            }
        },
    ),
    Mutation(
        name="batch-norm-statistics-stale",
        words="the running statistics never move",
        rung="step",
        host="images",
        of=(BatchNorm,),
        edits={"batch_norm": {'}.{role}"] = moved': '}.{role}"] = run.weight(node, role)'}},
    ),
    Mutation(
        name="batch-norm-variance-unbiased",
        words="the running variance is the unbiased one",
        rung="step",
        host="images",
        of=(BatchNorm,),
        edits={"batch_norm": {'("running_var", var)': '("running_var", x.var(axis=axes, ddof=1))'}},
    ),
    Mutation(
        name="batch-norm-epsilon",
        words="batch norm's epsilon is 1e-3",
        rung="forward",
        host="images",
        of=(BatchNorm,),
        edits={"batch_norm": {"layer.epsilon": "1e-3"}},
    ),
    Mutation(
        name="batch-norm-statistics-constant-in-backprop",
        words="the gradient takes mean and variance as constants",
        rung="gradients",
        host="images",
        of=(BatchNorm, LayerNorm),
        edits={"_scale_and_shift": {"inverse * (centred - along)": "inverse * d"}},
    ),
    Mutation(
        name="layer-norm-epsilon",
        words="layer norm's epsilon is 1e-3",
        rung="forward",
        host="attention",
        of=(LayerNorm,),
        edits={"layer_norm": {"node.layer.epsilon": "1e-3"}},
    ),
)

_RECURRENT = (
    Mutation(
        name="lstm-gates-swapped",
        words="the LSTM's gates are in the order i, g, f, o",
        rung="forward",
        host="lstm",
        of=(LSTM,),
        edits={
            "_lstm_pass": {
                "i, f, g, o = ": "i, g, f, o = ",
                "gates[:, t, 2] = np.tanh(z[:, 2])": "gates[:, t, 1] = np.tanh(z[:, 1])",
                "dz[:, t, 2] = dc * i": "dz[:, t, 1] = dc * i",
                "dz[:, t, 1] = dc * c": "dz[:, t, 2] = dc * c",
            }
        },
    ),
    Mutation(
        name="lstm-second-bias-learns",
        words="the LSTM has two biases, which both learn",
        rung="gradients",
        host="lstm",
        of=(LSTM,),
        edits={"_lstm_pass": {"flat.sum(axis=(0, 1))": "2 * flat.sum(axis=(0, 1))"}},
    ),
    Mutation(
        name="last-output-of-the-backward-direction",
        words="the backward direction ends at the last step",
        rung="forward",
        host="lstm",
        of=(SimpleRNN, LSTM, GRU),
        edits={
            "_recurrent": {
                "[states[:, -1] for _, states": "[states[:, 0 if prefix else -1] "
                "for prefix, states",
                "dstates[:, -1]": "dstates[:, 0 if prefix else -1]",
            }
        },
    ),
    Mutation(
        name="gru-gates-swapped",
        words="the GRU's gates are in the order z, r, n",
        rung="forward",
        host="gru",
        of=(GRU,),
        edits={
            "_gru_pass": {
                "r, z = ": "z, r = ",
                "r, z, n = ": "z, r, n = ",
                "dinputs[:, t, 0] = dn": "dinputs[:, t, 1] = dn",
                "dinputs[:, t, 1] = dh": "dinputs[:, t, 0] = dh",
            }
        },
    ),
    Mutation(
        name="gru-reset-before-the-product",
        words="the reset gate is before the product",
        rung="forward",
        host="gru",
        of=(GRU,),
        edits={
            "_gru_pass": {  # n = tanh(Wn x + bn + Un (r h) + dn); `recalled` is r h
                'own["weight"], own["recurrent_weight"], x.shape[1]\n': 'own["weight"], '
                'own["recurrent_weight"], x.shape[1]\n'
                "    first = slice(2 * layer.units)\n"
                "    last = slice(2 * layer.units, None)\n",
                "recalled[:, t] = a[:, 2]": "recalled[:, t] = r * h[:, t]",
                "r * a[:, 2]": 'recalled[:, t] @ again[last].T + own["recurrent_bias"][last]',
                "dn * recalled[:, t]": "dn @ again[last] * h[:, t]",
                "drecurrent[:, t, 2] *= r": "into_last = drecurrent[:, t, 2] @ again[last]",
                "drecurrent[:, t].reshape(len(x), -1) @ again": "into_last * r"
                " + drecurrent[:, t, :2].reshape(len(x), -1) @ again[first]",
                'gradients["bias"] =': 'gradients["recurrent_weight"][last] = np.tensordot('
                'drecurrent[:, :, 2], recalled, ((0, 1), (0, 1)))\n        gradients["bias"] =',
            }
        },
    ),
    Mutation(
        name="rnn-activation",
        words="the recurrent activation is the other one",
        rung="forward",
        host="rnn",
        of=(SimpleRNN,),
        edits={"_simple_rnn_pass": {'== "tanh"': '== "relu"'}},
    ),
    Mutation(
        name="rnn-recurrent-weight-transposed",
        words="the recurrent weight is transposed",
        rung="forward",
        host="rnn",
        of=(SimpleRNN,),
        edits={
            "_simple_rnn_pass": {
                'own["recurrent_weight"]': 'own["recurrent_weight"].T',
                '{"bias": dz': '{"recurrent_weight": np.tensordot(h[:, :-1], dz, ((0, 1), (0, 1))),'
                ' "bias": dz',
            }
        },
    ),
)

_OTHERS = (
    Mutation(
        name="square-weight-transposed",
        words="square weights are transposed",
        rung="forward",
        host="square",
        of=(Dense,),
        edits={
            "dense": {
                'run.weight(node, "weight")': 'run.weight(node, "weight")\n'
                "    square = weight.shape[0] == weight.shape[1]\n"
                "    weight = weight.T if square else weight",
                "if node.layer.use_bias:\n            gradients": "if square:\n            "
                'gradients[f"{node.key}.weight"] = gradients[f"{node.key}.weight"].T\n        '
                "if node.layer.use_bias:\n            gradients",
            }
        },
    ),
    Mutation(
        name="attention-weights-transposed",
        words="the attention's weights are transposed",
        rung="forward",
        host="attention",
        of=(MultiHeadAttention,),
        edits={
            "multi_head_attention": {
                "(run.weight(node, role) for": "(run.weight(node, role).T for",
                "name: d.reshape(-1, d.shape[-1]).T @ a.reshape(-1, a.shape[-1])": "name: "
                "a.reshape(-1, a.shape[-1]).T @ d.reshape(-1, d.shape[-1])",
            }
        },
    ),
    Mutation(
        name="attention-unscaled",
        words="the scores are not divided by √d",
        rung="forward",
        host="attention",
        of=(MultiHeadAttention,),
        edits={"multi_head_attention": {"(q.shape[-1] ** -0.5)": "(1)"}},
    ),
    Mutation(
        name="attention-mask-inverted",
        words="the attention's mask is the other way",
        rung="forward",
        host="attention",
        of=(MultiHeadAttention,),
        edits={"multi_head_attention": {"if node.layer.causal": "if not node.layer.causal"}},
    ),
    Mutation(
        name="embedding-first-word-is-padding",
        words="the id 0 is padding",
        rung="forward",
        host="attention",
        of=(Embedding,),
        edits={
            "embedding": {
                "return weight[ids]": "return weight[ids] * (ids > 0)[..., None]",
                "ids, dy)": "ids, dy * (ids > 0)[..., None])",
            }
        },
    ),
    Mutation(
        name="embedding-gradient-of-the-last-alone",
        words="of ids that repeat, the last alone has a gradient",
        rung="gradients",
        host="attention",
        of=(Embedding,),
        edits={"embedding": {"np.add.at(gradient, ids, dy)": "gradient[ids] = dy"}},
    ),
    Mutation(
        name="embedding-gradient-uninitialised",
        rung="gradients",
        host="attention",
        of=(Embedding,),
        edits={
            "embedding": {
                "np.add.at(": "gradient[np.setdiff1d(np.arange(len(weight)), ids)] = np.nan\n"
                "        np.add.at("
            }
        },
    ),
    Mutation(
        name="gelu-tanh-for-exact",
        words="gelu is approximated with tanh",
        rung="forward",
        host="activations",
        of=(GELU,),
        edits={"gelu": {'node.layer.approximation == "tanh"': "True"}},
    ),
    Mutation(
        name="leaky-relu-slope",
        words="the slope of leaky relu is 0.3",
        rung="forward",
        host="activations",
        of=(LeakyReLU,),
        edits={"leaky_relu": {"node.layer.negative_slope": "0.3"}},
    ),
    Mutation(
        name="hard-sigmoid-slope",
        words="the slope of hard sigmoid is 1/5",
        rung="forward",
        host="activations",
        of=(HardSigmoid,),
        edits={"hard_sigmoid": {"x / 6": "x / 5", "dy / 6": "dy / 5", "3": "2.5"}},
    ),
    Mutation(
        name="dropout-unscaled",
        words="dropout does not scale what it keeps",
        rung="forward",
        host="dropout",
        of=(Dropout,),
        edits={"dropout": {"/ (1 - rate)": ""}},
    ),
    Mutation(
        name="dropout-mask-inverted",
        words="the mask says what is dropped",
        rung="forward",
        host="dropout",
        of=(Dropout,),
        edits={"dropout": {"mask.astype": "(~mask).astype"}},
    ),
    Mutation(
        name="dropout-in-evaluation",
        rung="evaluation",
        host="dropout",
        of=(Dropout,),
        edits={"dropout": {"if not run.training": "if False"}},
    ),
)

MUTATIONS = (
    *_WEIGHTS,
    *_BATCHES,
    *_TRAINER,
    *_DTYPES,
    *_ADAM,
    *_DECAY,
    *_OPTIMIZERS,
    *_LOSSES,
    *_CONVOLUTIONS,
    *_NORMALISATION,
    *_RECURRENT,
    *_OTHERS,
)
