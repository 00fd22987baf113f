"""Programs on any device, by torch and the kernels of `ops`."""
