"""For all tests: torch computes on one thread. Tensors here are tiny, and two threads that share a busy machine mostly wait
for each other (measured: 66 s instead of 4 s for one file). Processes that tests start choose for themselves.
"""

import torch

torch.set_num_threads(1)
