"""The radius graph: neighbors found by one of three packages, a file each."""
