"""Scripts that make the demo data and measure the package."""
