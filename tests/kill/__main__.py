"""`python -m tests.kill`: so many kills, spread over rounds and over lanes that run side by
side."""

import sys

from . import campaign

parser = campaign.parser("tests.kill", __doc__)
parser.add_argument("--kills", type=int, default=100)
sys.exit(campaign.run("tests.kill", parser.parse_args()))
