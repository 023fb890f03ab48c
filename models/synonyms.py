"""What other frameworks call the constructs and fields of a spec: what an unknown word may mean.

Called where a word is looked up: in a TOML file (`toml`), on the command line, by `explain`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# By the word as `_folded` writes it: what it may mean here, separated by spaces.
_MEANT = {
    # layers
    "linear": "dense",
    "fc": "dense",
    "fullyconnected": "dense",
    "innerproduct": "dense",
    "convolution": "conv2d",
    "conv": "conv2d conv1d",
    "convolution1d": "conv1d",
    "convolution2d": "conv2d",
    "convtranspose": "conv_transpose2d",
    "conv2dtranspose": "conv_transpose2d",
    "deconvolution": "conv_transpose2d",
    "maxpool": "max_pool2d",
    "maxpooling2d": "max_pool2d",
    "maxpooling": "max_pool2d",
    "avgpool": "avg_pool2d",
    "averagepooling2d": "avg_pool2d",
    "averagepooling": "avg_pool2d",
    "globalaveragepooling1d": "global_avg_pool1d",
    "globalaveragepooling2d": "global_avg_pool2d",
    "adaptiveavgpool1d": "global_avg_pool1d",
    "adaptiveavgpool2d": "global_avg_pool2d",
    "pooling": "max_pool2d avg_pool2d",
    "view": "reshape",
    "transpose": "permute",
    "batchnormalization": "batch_norm",
    "batchnorm1d": "batch_norm",
    "batchnorm2d": "batch_norm",
    "layernormalization": "layer_norm",
    "attention": "multi_head_attention",
    "multiheadattn": "multi_head_attention",
    "selfattention": "multi_head_attention",
    "transformer": "multi_head_attention",
    "rnn": "simple_rnn",
    "recurrent": "simple_rnn lstm gru",
    "swish": "silu",
    "parametricrelu": "prelu",
    "hardsigmoid": "hard_sigmoid",
    "add": "residual",
    "skip": "residual",
    "concatenate": "concat",
    "cat": "concat",
    # losses
    "crossentropy": "softmax_cross_entropy",
    "crossentropyloss": "softmax_cross_entropy",
    "categoricalcrossentropy": "softmax_cross_entropy",
    "sparsecategoricalcrossentropy": "softmax_cross_entropy",
    "softmaxcrossentropyloss": "softmax_cross_entropy",
    "nll": "softmax_cross_entropy",
    "nllloss": "softmax_cross_entropy",
    "bce": "binary_cross_entropy",
    "bceloss": "binary_cross_entropy",
    "bcewithlogitsloss": "binary_cross_entropy",
    "binarycrossentropyloss": "binary_cross_entropy",
    "sigmoidbinarycrossentropyloss": "binary_cross_entropy",
    "sigmoidcrossentropy": "binary_cross_entropy",
    "mseloss": "mse",
    "l2loss": "mse",
    "meansquarederror": "mse",
    "squarederror": "mse",
    "l1": "mae",
    "l1loss": "mae",
    "meanabsoluteerror": "mae",
    "huberloss": "huber",
    "smoothl1": "huber",
    "smoothl1loss": "huber",
    # schedules, initializers, metrics
    "cosineannealing": "cosine",
    "cosineannealinglr": "cosine",
    "cosinedecay": "cosine",
    "steplr": "step",
    "stepdecay": "step",
    "piecewiseconstantdecay": "step",
    "exponentiallr": "exponential",
    "exponentialdecay": "exponential",
    "xavier": "glorot_uniform glorot_normal",
    "xavieruniform": "glorot_uniform",
    "xaviernormal": "glorot_normal",
    "glorot": "glorot_uniform glorot_normal",
    "kaiming": "he_uniform he_normal",
    "kaiminguniform": "he_uniform",
    "kaimingnormal": "he_normal",
    "he": "he_uniform he_normal",
    "msra": "he_normal",
    "lecun": "lecun_uniform lecun_normal",
    "gaussian": "normal",
    "randomnormal": "normal",
    "randomuniform": "uniform",
    "zero": "zeros",
    "ones": "constant",
    "acc": "accuracy",
    "f1": "macro_f1",
    "f1score": "macro_f1",
    "logloss": "log_loss",
    "rmse": "mse",
    "r2score": "r2",
    # backends
    "tensorflow": "keras",
    "tf": "keras",
    "tfkeras": "keras",
    "pytorch": "torch",
    "paddlepaddle": "paddle",
    "gluon": "mxnet",
    "mxnetgluon": "mxnet",
    "flax": "jax",
    "optax": "jax",
    "np": "numpy",
    # fields
    "lr": "learning_rate",
    "rate": "learning_rate",
    "stepsize": "learning_rate kernel_size steps",
    "eta": "learning_rate",
    "momentum": "beta1",
    "beta": "beta1 beta2",
    "betas": "beta1 beta2",
    "beta1": "momentum",
    "rho": "beta2",
    "eps": "epsilon",
    "alpha": "rho negative_slope alpha_initializer",
    "slope": "negative_slope",
    "decay": "weight_decay",
    "l2": "weight_decay",
    "wd": "weight_decay",
    "clip": "clip_norm clip_value",
    "clipnorm": "clip_norm",
    "globalclipnorm": "clip_norm",
    "maxnorm": "clip_norm",
    "gradclip": "clip_norm clip_value",
    "clipvalue": "clip_value",
    "scheduler": "schedule",
    "lrscheduler": "schedule",
    "lrschedule": "schedule",
    "warmup": "warmup_steps",
    "tmax": "steps",
    "decaysteps": "steps",
    "decayrate": "gamma",
    "heads": "num_heads",
    "nheads": "num_heads",
    "nhead": "num_heads",
    "headcount": "num_heads",
    "units": "filters",
    "filters": "units",
    "features": "units filters",
    "outfeatures": "units filters",
    "outchannels": "filters units",
    "channels": "filters units",
    "numfilters": "filters",
    "hiddensize": "units",
    "hidden": "units",
    "neurons": "units",
    "size": "units kernel_size shape",
    "outputdim": "units",
    "embeddingdim": "units",
    "dim": "units axes",
    "numembeddings": "vocabulary_size",
    "inputdim": "vocabulary_size input",
    "vocabsize": "vocabulary_size",
    "vocabulary": "vocabulary_size",
    "kernel": "kernel_size",
    "kernelshape": "kernel_size",
    "poolsize": "kernel_size",
    "window": "kernel_size",
    "filtersize": "kernel_size",
    "strides": "stride",
    "pad": "padding",
    "pads": "padding",
    "dilationrate": "dilation",
    "dilations": "dilation",
    "bias": "use_bias",
    "kernelinitializer": "weight_initializer",
    "initializer": "weight_initializer",
    "init": "weight_initializer",
    "biasinit": "bias_initializer",
    "p": "rate",
    "prob": "rate",
    "probability": "rate",
    "dropoutrate": "rate",
    "bidirection": "bidirectional",
    "returnsequence": "return_sequences",
    "newshape": "shape",
    "targetshape": "shape",
    "dims": "axes shape",
    "smoothing": "label_smoothing",
    "stddev": "std",
    "scale": "std",
    "minval": "low",
    "maxval": "high",
    "a": "low negative_slope",
    "b": "high",
    "inputshape": "input",
    "network": "layers",
    "architecture": "layers",
    "criterion": "loss",
    "lossfunction": "loss",
    "optim": "optimizer",
    "optimiser": "optimizer",
    "data": "dataset",
    "batch": "batch_size",
    "bs": "batch_size",
    "numepochs": "epochs",
    "nepochs": "epochs",
    "metrics": "metric",
}
# What is not here: the nearest word would be another thing.
_ABSENT = """
adadelta adamax nadam radam lion ftrl lamb lars rprop conv3d convtranspose1d convtranspose3d
conv3dtranspose conv1dtranspose depthwiseconv2d separableconv2d maxpool1d maxpool3d avgpool1d
avgpool3d batchnorm3d groupnorm instancenorm rmsnorm relu6 selu celu mish hardswish logsoftmax
logsigmoid softsign hardtanh hinge kldivergence kldiv poisson cosinesimilarity orthogonal identity
polynomial onecycle precision recall auc topk float16 bfloat16
"""
_ALIKE = 0.65  # of difflib: below, the nearest word is as good as any
_OF_THE_COMMAND = "it is an option of the command line"
_REMARKS = {
    "activation": 'an activation is a layer of its own, such as { type = "relu" }',
    "dropout": 'dropout is a layer of its own, { type = "dropout", name = "drop", rate = 0.5 }',
    "seed": f"{_OF_THE_COMMAND}, --seeds",
    **{
        word: f"{_OF_THE_COMMAND}, --{word}"
        for word in ("backend", "device", "dtype", "mode", "threads", "seeds")
    },
}


def meant(word: str, known: Iterable[str]) -> list[str]:
    """Return which of the known words are meant by one of another framework, or in its spelling:
    `nn.LSTM` is `lstm`, `Linear` is `dense`. There may be several, or none.
    """
    key, words = _folded(word), list(known)
    return [w for w in words if _folded(w) == key] or [
        w for w in _MEANT.get(key, "").split() if w in words
    ]


def hint(word: str, known: Iterable[str]) -> str:
    """Return what to ask back on an unknown word: `did you mean dense? `; nothing, if nothing is
    alike.
    """
    key, words = _folded(word), list(known)
    likely = meant(word, words)
    if not likely and key not in _ABSENT.split():
        likely = difflib.get_close_matches(word, words, n=1, cutoff=_ALIKE)
    if likely:
        return f"did you mean {' or '.join(likely)}? "
    return f"{_REMARKS[key]}; " if key in _REMARKS else ""


def closest(word: str, known: Iterable[str]) -> str:
    """Return the end of an error on an unknown word: what it may mean, and all that is known."""
    words = list(known)
    return f"{hint(word, words)}known: {', '.join(words)}"


def _folded(word: str) -> str:
    """Return the last part of a dotted name, without case and signs."""
    return re.sub("[^a-z0-9]", "", word.rpartition(".")[2].lower())
