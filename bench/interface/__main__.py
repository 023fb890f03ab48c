"""`python -m bakeoff` is `bakeoff`."""

from .bench.cli import main

if __name__ == "__main__":
    main()
