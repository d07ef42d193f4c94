"""`python -m bench SCENARIO`: measure, print the table, and end with 1 when a target was missed."""

import sys

from bench.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
