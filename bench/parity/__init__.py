"""Parity: does a backend compute the same mathematics as NumPy in float64?

Two kinds of evidence are judged. A *certificate* (`certify`, `ladder`) is earned in a laboratory,
on a few samples, step by step; it says where a backend differs. *Audits* (`audit`) look at blocks
of steps in the very processes that were timed; they say that what was timed is what was certified.

**The ladder.** A backend leaves evidence (`worker.evidence`): what it computed on given weights,
batches and masks. Each rung compares a part of it with what the oracle computes, elementwise,
strict about names, shapes, dtypes, NaN and infinities, in the order in which a cause shows:

    weights     what `weights()` gives back after `build`: equal, bit for bit
    forward     every layer's output in training mode
    loss        the mean loss of the first batch
    gradients   d(mean loss)/d(weight) for every trainable weight
    step        weights, running statistics and optimizer slots after one update
    trajectory  the same after each of k steps, the rate changing on the way, and after some steps
                that were taken in one call of `train`, with their losses
    evaluation  logits in evaluation mode, after training
    accuracy    the metric over paired seeds: in `bakeoff run`, an equivalence test

A trajectory is chaotic: ReLU, max pooling and Adam near a zero gradient turn a rounding error into
one of the size of a step. So each step is judged from the backend's own state before it: the oracle
takes over the weights and slots that the backend reports, and takes one step. Nothing is carried
over, and no bound has to grow.

**What is allowed.** Rounding is measured on this net and this data, in the precision that is
judged, by Monte Carlo arithmetic (`rounding`): the oracle's formulas in float64, the result of
every operation disturbed at random by the unit roundoff u of that precision, a function that is
approximated by 4 u, and a sum of n terms by u g(n) times the sum of their absolute values. The
*noise* of a tensor is the largest distance of any of a few draws from the undisturbed value, and u
of its largest element at least (`noise`). A backend is allowed `MULTIPLE` times the noise, the same
number for every backend, precision and rung: what is right stays well below, what is wrong in a
known way well above, and `parity --self-test` prints how far. The noise is measured along the
oracle's own training, once for all backends, whose states differ from it by rounding; where that is
not enough for one, at its own state, by more draws. Then kinks count too (a ReLU at zero, two
places that nearly tie in a max pool), where rounding decides and either way is right: every product
is kicked up and down by `MULTIPLE` of its roundings, and where that does far more than a smooth
function would make of it, what it does is allowed on top.

After a step, an element may be where the update takes it from any gradient within its own
tolerance (`tolerance`): next to a zero gradient Adam may go either way, and elsewhere it may not.
Where a whole gradient is rounding and nothing else, as that of a bias in front of batch norm, an
optimizer that divides by its size moves the weight by chance: it is left out, by name.

A row in float32 needs a certificate in float64 too: an update of less than u of its weight leaves
no trace in float32, and is plain there.

**Audits.** In every timed process of `run` and `bench`, around blocks that the parent drew, the
first and the last among them, the worker notes weights, slots and statistics outside the clock; the
block between them is one of those that are timed. `replay` takes the same steps from the same state
on the same rows, with the plan that NumPy's backend trains with, in float64, which is held to the
formulas first; and some times more in the precision that is judged, disturbed, for how far rounding
takes a whole block. That spread grows as the net's own chaos does. Where it has outgrown half of
what the last step moved, the block does not decide whether that step was taken, and counts as
undecided; `run` makes its blocks as short as it takes for the first one to decide. Predictions that
a metric came from are recomputed from the weights that the worker left, on rows that are drawn
afterwards, and were asked for again in other orders; in `bench`, inputs that were never seen may
not take longer. Masks that a framework draws itself are judged by their distribution (`dropout`),
and so is what a block comes to under them. A training must begin, or go on, where it was told to.

What an audit cannot see: a fault in a share f of the blocks is missed with probability (1 - f)^n by
n audited blocks drawn at random, and one that knows when it is looked at is missed for certain.

**Who judges the judge.** `mutants` edits the formulas in some 85 ways, each a backend that is wrong
in a known way; `tests/mutants/timed` wraps a right backend in 115 ways of being wrong where it is
timed. All are caught, and backends that are right, wrapped likewise, are not accused.
"""

from __future__ import annotations
