"""`python -m clrface_core` is the `clrface` command."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
