"""By which interpreter, on which machine: `find` and `install` environments, `code` is the zip that
travels to a worker, `process` starts and follows one, `machine` says where; `draw` is one that
draws charts.
"""
