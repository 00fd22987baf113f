"""What measured numbers depend on: hardware and versions."""

import os
import platform

import ase
import lightning
import torch
import torch_geometric

import schnetgeo


def hardware() -> str:
    """Processor, vector instructions that torch uses, number of threads and GPU."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    threads = torch.get_num_threads()
    processor = f"{_processor()} ({torch.backends.cpu.get_cpu_capability()})"
    return f"{processor}, {os.cpu_count()} cores, {threads} thread{'s' * (threads > 1)}{gpu}"


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    return {
        "python": platform.python_version(),
        "schnetgeo": schnetgeo.__version__,
        "torch": torch.__version__,
        "torch-geometric": torch_geometric.__version__,
        "lightning": lightning.__version__,
        "ase": ase.__version__,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
