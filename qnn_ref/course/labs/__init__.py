"""Labs: short programs that run and look fine, each with one wrong line.

Who finds it names the line, mends it, and writes the test that would have found it.
"""

from qnn_ref.course.labs.lab import LABS, Lab, lab
from qnn_ref.course.labs.trial import check_lab, check_source

__all__ = ["LABS", "Lab", "check_lab", "check_source", "lab"]
