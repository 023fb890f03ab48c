"""How it is compared: rooms on floors. A room imports those on the floors below it, and no other.

    `cli`                     the command line: parse, dispatch, errors in one line
    `options`                 its options, and what their texts mean
    `commands`                each command from the user's end: what it asks below, what it prints
    `training`  `timing`      `bakeoff run`, `bakeoff train`; `bakeoff bench`, and its rules
    `parity`  `report`        the ladder and its certificates; a summary as page, picture and text
    `workload`  `checks`      a model, a dataset and how to train it; what several commands check
    `interrupts`  `printing`  signals that end a command; how text reaches a terminal or a pipe
    `results`                 the schema of a summary, its statistics
    `environments`            which interpreter, on which machine, and how a process is started
    `worker`                  what runs there: it imports `models`, `backends` and nothing else here
    `rivals`                  the same nets by hand and in other libraries, imported by name

Beside them lies `interface`, the top of the package: what `import bakeoff` gives. It imports rooms.
Rooms of one floor do not know each other. Nothing flows back: a stage reads only what the one
before it wrote. Of a run, `training.plan` checks all input; `training.prepare` writes the run
folder; `training.certificates` has each row certified by `parity`, which asks a `worker.probe`;
`training.jobs` starts one `worker.train` per job, which writes its records; `training.aggregate`
makes the summary of them, and `report` renders it. Of a benchmark, `timing.plan` says who takes
turns with whom, `timing.session` runs the races of `worker.time`, `timing.aggregate` makes the
summary.
"""
