"""`python -m wproj_cli`."""

import sys

from wproj_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
