"""`bakeoff run` and `train`: the same trainings by several backends, and what came of them.

`plan` checks what was asked, `prepare` writes the run folder (`run_folder` is its schema, `inputs`
what all backends start from), `resume` makes ready what is left of one, `certificates` obtains the
proof for each row, `jobs` has some workers import together and then one after another train,
`progress` shows them, `journal` reads what a job recorded, `audits` judges what it noted, `curves`
and `aggregate` make the summary of it. `checkpoint` is a training put aside.

Whatever is written carries its hash, and is compared with it when it is opened: JSON and TOML a
seal (`models.sealed`), a line of records its CRC, arrays in the record that ends a job, inputs in
`run.toml` and `job.json`. With the data `run.toml` says all that a job is made of, so a damaged
job is written anew and done again.
"""
