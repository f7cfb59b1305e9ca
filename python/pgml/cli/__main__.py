"""`python -m pgml.cli` is the command `pgml`."""

import sys

from pgml.cli import main

sys.exit(main())
