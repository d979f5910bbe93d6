"""One rising clock for a source that may be opened many times."""

from __future__ import annotations

__all__ = ["Timeline"]

_DRIFT_S = 1.0  # a device's clock further off than this from ours has jumped: anchored anew
_STEP_S = 0.001  # the least between two frames: below the period of any camera


class Timeline:
    """Turns a feed's own seconds into seconds since the source began, strictly rising.

    The spacing is the feed's, as the network delays pictures unevenly; where its clock jumps,
    wraps or begins anew, it is anchored at the time of arrival.

    Attributes:
        jumps: how often a feed's clock was found to have jumped.
    """

    def __init__(self) -> None:
        self.jumps = 0
        self._began: float | None = None  # our clock at second 0
        self._offset: float | None = None  # from the feed's seconds to ours
        self._last: float | None = None

    def reopened(self) -> None:
        """A new feed comes, whose clock has nothing to do with the last one's."""
        self._offset = None

    def place(self, seconds: float | None, arrived_s: float, exact: bool) -> float:
        """Return the timestamp of a picture.

        Args:
            seconds: on the feed's clock, or None.
            arrived_s: on ours, monotonic.
            exact: the feed's clock begins at 0 and rises: it is taken as it is.
        """
        if self._began is None:
            self._began = arrived_s
        arrived = arrived_s - self._began
        if seconds is None:
            at = arrived
        else:
            if self._offset is None:
                # A later opening goes on where time is now, not where the frames ended.
                self._offset = arrived - seconds if not exact or self._last is not None else 0.0
            at = seconds + self._offset
            if not exact and abs(at - arrived) > _DRIFT_S:
                self.jumps += 1
                self._offset, at = arrived - seconds, arrived
        if self._last is not None and at <= self._last:
            at = self._last + _STEP_S
        self._last = at
        return at
