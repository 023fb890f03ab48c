"""What came of a run or a benchmark: `summary.json` (`summary`), its statistics (`stats`), the
speeds in it and their ratios (`speeds`). No room above is needed to read a result.
"""
