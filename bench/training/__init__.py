"""`bakeoff run` and `train`: the same trainings by several backends, and what came of them.

`plan` checks what was asked, `prepare` writes the run folder (`run_folder` is its schema),
`certificates` obtains the proof for each row, `jobs` runs one worker after the other and `progress`
shows them, `journal` reads what a job recorded, `curves` and `aggregate` make the summary of it.
`checkpoint` is a training put aside.
"""
