"""Physical quality of trained models, beside their errors."""
