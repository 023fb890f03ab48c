"""Timing: how fast a backend is, by rules that make the number worth something.

- One benchmark at a time on a machine; every repeat is a fresh process; the cases are interleaved
  and every other round runs backwards (A B C, C B A), so that a drift of the machine cancels.
- Threads are set by each framework's API and by environment variables before it is imported, and
  then verified: CPU time over wall time.
- Import, build, staging, the first step and the first block, which hold any compilation, are
  measured apart. Then come blocks of k equal steps with one synchronisation each, for 4 s, or 12
  beside a rival; less if the budget over all cases is less, but five rounds. k follows from the
  FLOPs of a step alone and is the same for all backends: equal work.
- A rival (a loop by hand, a peer) has a process of its own, on the same cores, as many as threads,
  and an environment without what the adapter set. The two take turns of 0.1 s or a block, shorter
  than the bursts of a neighbour, so that these hit both; a turn begins with a step that is not
  timed, as the other has left caches cold, and with more threads than one after a rest, in which
  the other's stop spinning. Their ratio is of neighbouring turns.
- A block in which other processes used more than a quarter of a core is discarded and counted,
  unless all were. The steady state is found, not assumed (`analysis.steady`); a compilation inside
  it, a drift and two modes are flagged.
- The median and its bootstrap interval are over processes, then blocks. A ratio whose interval
  holds 1 is a tie.
- A crash, a refusal and a time-out are results.

`task` is what a worker is told, `timer` the worker, `session` the parent that spends the budget,
`analysis` turns samples into measurements, `comparison` measurements into ratios.
"""
