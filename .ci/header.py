"""Precompile a header with the flags with which torch's extensions are compiled.

python .ci/header.py COMPILER HEADER
"""

import os
import shlex
import subprocess
import sys
import sysconfig

from torch.__config__ import parallel_info
from torch.utils.cpp_extension import include_paths

compiler, header = sys.argv[1:]
flags = shlex.split(sysconfig.get_config_var("CFLAGS")) + ["-fPIC", "-DWITH_PYTHON"]
flags += [f"-I{path}" for path in [*include_paths(), sysconfig.get_path("include")]]
flags += ["-O2", "-std=c++20", "-DTORCH_API_INCLUDE_EXTENSION_H"]
if "backend: OpenMP" in parallel_info():
    flags += ["-DAT_PARALLEL_OPENMP", "-fopenmp"]
flags += shlex.split(os.environ["CXXFLAGS"])
command = [compiler, *flags, "-x", "c++-header", header, "-o", f"{header}.gch"]
sys.exit(subprocess.run(command).returncode)
