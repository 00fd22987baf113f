"""Models read as programs, and what runs them."""
