"""What came of a run or a benchmark: `summary.json` (`summary`, `storage`), its statistics
(`stats`), the speeds in it and their ratios (`speeds`); and two of them compared: in what they
differ (`differences`), what changed (`changes`). No room above is needed to read a result.
"""
