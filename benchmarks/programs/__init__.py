"""Other programs with the same model: results and time beside each other."""
