"""How it is compared. One direction, each stage reading only what the one before it wrote:

`cli` -> `compare` -> `plan` (check all input) -> `prepare` (write the run folder) -> `run` (one
`worker` process per job, which writes `records`) -> `aggregate` (records to `summary`) -> `report`.

Beside them: `workload` (what to train), `environments` and `install` (by which interpreter), `code`
(the zip that travels), `metrics` and `stats`, `machine`, `progress`, `listing`, `doctor`.
"""
