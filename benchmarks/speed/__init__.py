"""Speed and memory beside other packages."""
