"""Processes that inherit nothing of the tests, and need not import the package first."""

import multiprocessing

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["schnetgeo.datasets"])
