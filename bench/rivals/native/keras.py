"""Keras on TensorFlow by hand: a loop of GradientTape steps, and one `tf.function` over many steps.

The data is converted once, to channels-last tensors, and each batch is gathered by TensorFlow.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import tensorflow as tf
from keras import layers, optimizers

Network = tuple[keras.Model, keras.Optimizer]

MODES = ("eager", "compiled")


def mnist_mlp() -> Network:
    net = keras.Sequential(
        [
            layers.Flatten(),
            layers.Dense(256, activation="relu", kernel_initializer="he_normal"),
            layers.Dense(128, activation="relu", kernel_initializer="he_normal"),
            layers.Dense(10),
        ]
    )
    return net, optimizers.SGD(0.03125, momentum=0.875)


def lenet5() -> Network:
    net = keras.Sequential(
        [
            layers.Conv2D(6, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
            layers.Dense(10),
        ]
    )
    return net, optimizers.Adam(0.0003662109375, epsilon=1e-8)


def convnet() -> Network:
    net = keras.Sequential(
        [
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(128, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10),
        ]
    )
    return net, optimizers.Adam(0.00048828125, epsilon=1e-8)


def mnist_rows_lstm() -> Network:
    net = keras.Sequential([layers.LSTM(64), layers.Dense(10)])
    return net, optimizers.Adam(0.0009765625, epsilon=1e-8)


WORKLOADS: dict[str, Callable[[], Network]] = {
    "mnist-mlp": mnist_mlp,
    "lenet5": lenet5,
    "convnet": convnet,
    "mnist-rows-lstm": mnist_rows_lstm,
}


def prepare(
    workload: str, x: np.ndarray, y: np.ndarray, *, mode: str, threads: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return `train(order)`: a step for each row of indices into x and y, and its mean loss."""
    if workload == "mnist-rows-lstm":
        x = x.reshape(-1, 28, 28)  # an image is a sequence of its rows
    keras.config.set_floatx("float32")
    keras.utils.set_random_seed(0)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    images = tf.constant(x.transpose(0, 2, 3, 1) if x.ndim == 4 else x)
    labels = tf.constant(y)
    net, optimizer = WORKLOADS[workload]()
    net.build((None, *images.shape[1:]))
    optimizer.build(net.trainable_variables)
    mean_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def step(indices: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = net(tf.gather(images, indices), training=True)
            loss = mean_loss(tf.gather(labels, indices), logits)
        optimizer.apply(tape.gradient(loss, net.trainable_weights))
        return loss

    def eager(order: np.ndarray) -> np.ndarray:
        return tf.stack([step(indices) for indices in tf.constant(order)]).numpy()

    # A call costs as much as a small step, so the loop is in the graph. XLA is faster only for
    # recurrent layers, whose loop over time it compiles.
    step_in_graph = tf.function(step, jit_compile=True) if workload == "mnist-rows-lstm" else step

    def steps(order: tf.Tensor) -> tf.Tensor:
        options = {"parallel_iterations": 1, "fn_output_signature": tf.float32}
        return tf.map_fn(step_in_graph, order, **options)

    steps_in_graph = tf.function(steps)

    def compiled(order: np.ndarray) -> np.ndarray:
        return steps_in_graph(tf.constant(order)).numpy()

    return eager if mode == "eager" else compiled
