"""`python -m tests.intruder`: so many runs; each ends with a kill while intruders are at work."""

import sys

from tests.kill import campaign

from .beside import intrude

parser = campaign.parser("tests.intruder", __doc__)
parser.add_argument(
    "--runs", type=int, default=30, dest="kills", help="kills of a process with intruders in it"
)
sys.exit(campaign.run("tests.intruder", parser.parse_args(), intrude))
