"""Just-in-time refinement: perception tools that a plan may call when the twin lacks something.

The reasoner and the networks that see do not know each other; here, a floor above both, the tools
that need pixels are bound to a window of the twin and to the frames it was made of
(FastReasonSeg, section 3: tool calls that bring in what the twin does not hold yet).
"""

from .budget import RefineBudget, RefineCounts
from .eyes import Eyes
from .frames import FrameProvider, RecentFrames, SourceFrames
from .refiner import Proposal, Proposer, Refine, Refiner

__all__ = [
    "Eyes",
    "FrameProvider",
    "Proposal",
    "Proposer",
    "RecentFrames",
    "Refine",
    "RefineBudget",
    "RefineCounts",
    "Refiner",
    "SourceFrames",
]
