"""From a model's own forward to a program, by running it on symbols."""
