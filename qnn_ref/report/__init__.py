"""The paper's tables and figures beside ours, on one page (`qnn-ref report`).

What stands on it comes from the paper's constants (`experiments.tables`, `cost`) and from the files
in experiments/results, which commands wrote; nothing is typed by hand.
"""

from qnn_ref.report.build import Report, build_report
from qnn_ref.report.page import write_page
from qnn_ref.report.rows import Row, Table
from qnn_ref.report.speed import readme_blocks, with_block

__all__ = ["Report", "Row", "Table", "build_report", "readme_blocks", "with_block", "write_page"]
__dir__ = __all__.copy
