"""What NumPy and the adapters are raced against: `native`, the same nets by hand in each
framework's own idiom; `peers`, in other libraries of pure Python. No code of ours in either.
"""
