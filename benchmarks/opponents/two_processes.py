"""What one starts instead of threads: two processes of wproj, each on half of the tensors.

python two_processes.py HALF TARGET AXIS
"""

import subprocess
import sys

half, target, axis = sys.argv[1:]
project = [sys.executable, "-m", "wproj_cli", "project", half, "-m", "*", "-c", "max_norm=2"]
options = ["-a", axis, "--no-sync", "--threads", "1"]
started = [
    subprocess.Popen([*project, *options, "-o", path], stdout=subprocess.DEVNULL)
    for path in (target, f"{target}.2")
]
sys.exit(max(process.wait() for process in started))
