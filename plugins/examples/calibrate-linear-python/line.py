"""A straight line from measured to true values. Knows nothing of plugins."""

from dataclasses import dataclass

# Reference points closer than this, in degrees, magnify the sensor's own steps of 1/16 degree into the gain.
CLOSEST_POINTS = 1


@dataclass
class Line:
    """true = gain × measured + offset"""

    gain: float
    offset: float

    def at(self, measured: float) -> float:
        """The true value for a measured one."""
        return self.gain * measured + self.offset


def through(low: dict, high: dict) -> Line:
    """The line through two reference points; a ValueError says why there is none."""
    span = high["measured"] - low["measured"]
    if not span >= CLOSEST_POINTS:
        raise ValueError(
            f"`low.measured` is {low['measured']} and `high.measured` is {high['measured']}: "
            f"they must be at least {CLOSEST_POINTS} apart, the lower one first"
        )
    gain = (high["reference"] - low["reference"]) / span
    if not 0.5 <= gain <= 2:
        raise ValueError(
            f"the two points give a gain of {gain}: it must be from 0.5 to 2, so one of them is wrong"
        )
    return Line(gain, low["reference"] - gain * low["measured"])
