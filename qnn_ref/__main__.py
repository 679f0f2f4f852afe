"""`python -m qnn_ref`: the same as `qnn-ref`."""

import sys

from qnn_ref.cli import main

if __name__ == "__main__":
    sys.exit(main())
