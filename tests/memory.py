"""The highest memory of a process, as text to run inside it."""

from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")

PEAK_MB = f'int(open("{STATUS}").read().split("VmHWM:")[1].split()[0]) // 1024'
"""Of this process alone: getrusage's begins with that of the parent, which runs the tests."""

needs_status = pytest.mark.skipif(not STATUS.exists(), reason=f"needs {STATUS} of Linux")
