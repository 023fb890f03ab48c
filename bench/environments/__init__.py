"""By which interpreter, on which machine: `find` and `install` environments, `code` is the zip that
travels to a worker, `process` starts and follows one, `machine` says where, `folders` what may be
done in a folder that somebody else may have made; `draw` is a process that draws charts.
"""
