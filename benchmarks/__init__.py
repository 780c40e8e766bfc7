"""What is measured, how, and against whom."""

import os

# Read once, when torch is first imported. Idle OpenMP threads then sleep instead of spinning: the
# same speed on a quiet machine, four times as fast on one whose cores others use as well.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
