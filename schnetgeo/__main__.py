"""`python -m schnetgeo` is the command `schnetgeo`."""

from schnetgeo.user_code import leave_working_folder

if __name__ == "__main__":
    leave_working_folder()
    from schnetgeo.cli import main

    main()
