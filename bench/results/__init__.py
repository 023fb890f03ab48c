"""What came of a run or a benchmark: `summary.json` (`summary`), its statistics (`stats`), the
speeds that two of them are compared by (`speeds`). No room above is needed to read a result.
"""
