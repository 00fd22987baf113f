"""Search for options of models and trainings."""
