"""`python -m bench SCENARIO`: measure, print the table, and end with 1 when a target was missed."""

import sys

from bench.run import main

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
