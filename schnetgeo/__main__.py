"""`python -m schnetgeo` is the command `schnetgeo`."""

from schnetgeo.cli import main

if __name__ == "__main__":
    main()
