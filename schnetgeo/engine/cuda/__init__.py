"""CUDA graphs of programs."""
