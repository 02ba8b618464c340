"""`python -m minilingua` is the command line."""

import sys

from minilingua.cli import main

if __name__ == "__main__":
    sys.exit(main())
