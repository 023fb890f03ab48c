"""The parity ladder: does a backend compute the same mathematics as NumPy in float64?

A backend leaves evidence (`worker.evidence`): what it computed on given weights, batches and masks.
Each rung compares a part of it with what the oracle computes, elementwise, strict about names,
shapes, dtypes, NaN and infinities. The rungs, in the order in which a cause shows:

    weights     what `weights()` gives back after `build`: equal, bit for bit
    forward     every layer's output in training mode
    loss        the mean loss of the first batch
    gradients   d(mean loss)/d(weight) for every trainable weight
    step        weights, running statistics and optimizer slots after one update
    trajectory  the same after each of k steps, the rate changing on the way, and after some steps
                that were taken in one call of `train`, with their losses
    evaluation  logits in evaluation mode, after training
    accuracy    the metric over paired seeds: in `bakeoff run`, an equivalence test

**What is compared.** A trajectory is chaotic: ReLU, max pooling and Adam near a zero gradient turn
a rounding error into one of the size of a step. So each step is judged from the backend's own state
before it: the oracle takes over the weights and slots that the backend reports, and takes one step.
Nothing is carried over, and no bound has to grow.

**What is allowed** (`tolerance`). Rounding is measured on this net and this data: the oracle's own
formulas in float32, with other orders of summation, against float64, per tensor: the noise. A
backend is allowed `MULTIPLE` times the noise, the same number for every backend and rung. Next to a
kink (a ReLU at zero, two places that nearly tie in a max pool) rounding decides, and either way is
right: every sum is kicked up and down by `MULTIPLE` of its roundings, and where that does far more
than a smooth function would make of it, what it does is allowed on top. In float64 the noise is
smaller by 2⁻²⁹, the ratio of the unit roundoffs, as rounding is of first order in them; beside it
stands the a-priori bound γₙ = n u / (1 - n u) of the largest value (Higham 2002, §3.1), n being the
terms of every sum on the way. After a step, an element may be where the update takes it from any
gradient within its own tolerance: next to a zero gradient Adam may go either way, and elsewhere it
may not.
"""

from __future__ import annotations
