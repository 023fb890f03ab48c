"""Timing: how fast a backend is, by rules that make the number worth something.

- One benchmark at a time on a machine; every repeat is a fresh process. The cases of equal work and
  execution make a race: one process each, made ready one after the other, then all alive, taking
  turns, every other round backwards (A B C, C B A). Whoever waits does nothing. Neighbouring turns
  are a fraction of a second apart, so that what the machine does to one it does to the next, and a
  ratio is of neighbouring turns. On a device, whose allocators keep what they have, each is alone.
- A turn is 0.1 s or a block, shorter than the bursts of a neighbour. It begins with a step that is
  not timed, as others left caches cold. With more threads than one it comes after a rest, in which
  the threads of others stop spinning, and begins with 0.1 s of such steps, as cores that rested
  wake each other slowly at first.
- Threads are set by each framework's API and by environment variables before it is imported, and
  then verified: CPU time over wall time.
- Import, build, staging, the first step and the first block, which hold any compilation, are
  measured apart. A block is k equal steps with one synchronisation; k follows from the FLOPs of a
  step alone and is the same for all backends: equal work. A race has 5 s of turns for each case,
  less if the budget over all races is less, but five rounds. In every third round batches that are
  fed from the host have a turn beside those that are staged before.
- A rival (a loop by hand, a peer) makes a race with the adapter, on the same cores, as many as
  threads; both are fed from the host.
- A block in which other processes used more than a quarter of a core is discarded and counted,
  unless all were. The steady state is found, not assumed (`analysis.steady`); a compilation inside
  it, a drift and two modes are flagged.
- The median and its bootstrap interval are over processes, then blocks; those of a ratio over
  races, then rounds. A ratio whose interval holds 1 is a tie; fewer than three processes have no
  interval and no verdict.
- A crash, a refusal and a time-out are results; the others of a race go on.

`plan` says who is in which race, `work` what is timed; `race` is the parent of those that take
turns, each a `worker.time` that is told a `worker.task`; `session` spends the budget over races,
`bench_folder` keeps what a benchmark goes on from; `analysis` turns samples into measurements,
`comparison` measurements into ratios, `aggregate` both into the summary.
"""
