"""`python -m stepwell.cli`: the command `stepwell`, where no script was installed."""

import sys

from ..cli import main

sys.exit(main())
