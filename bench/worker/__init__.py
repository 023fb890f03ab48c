"""What runs in a backend's own interpreter: it needs the framework, numpy, msgspec, nothing else.

Four workers: `train` (a job), `time` (a case, a turn at a time), `probe` (evidence for the parity
ladder), `describe` (what an adapter says of itself); `peak` measures the machine. They are told
what to do by files (`job`, `task`), answer with files (`records`, arrays), and end with whoever
started them (`parent`). A test holds that nothing here imports more than numpy, msgspec, `models`
and `backends`.
"""
