"""calibrate-linear in Python: gain and offset, or two reference points, a table by sensor.

What the functions are given and give back is in wit/weir-plugin.wit, world `calibration`. An `Err` with a text in it is an
error for the user; anything else that is raised is a trap.
"""

import json

import wit_world
from componentize_py_types import Err
# All that is imported must be imported while the plugin is built: afterwards there are no files. This one holds what the
# host's records become, and is looked for when the first of them comes.
from wit_world.imports import types  # noqa: F401

from line import Line, through

# One line a series, by the series' number. It is no attribute: each call is made on a new object of the class.
lines = []


class WitWorld(wit_world.WitWorld):
    def configure(self, settings, series):
        global lines
        settings = json.loads(settings)
        default = Line(settings["gain"], settings["offset"])
        own = settings.get("sensor", {})
        lines = [
            line_of(one.sensor, own[one.sensor]) if one.sensor in own else default for one in series
        ]

    def apply(self, batch):
        return [lines[of].at(value) for of, value in zip(batch.series, batch.value)]

    # Nothing is remembered, and neither time nor faults change anything.
    def tick(self, now):
        pass

    def fault(self, of, time, reason):
        pass

    def save(self):
        return b""

    def load(self, state):
        pass


def line_of(name, own):
    try:
        if "low" not in own and "high" not in own:
            return Line(own.get("gain", 1.0), own.get("offset", 0.0))
        if "low" not in own or "high" not in own:
            raise ValueError("`low` and `high` go together: two reference points make a line")
        if "gain" in own or "offset" in own:
            raise ValueError(
                "`low` and `high` already say gain and offset: give the one pair or the other"
            )
        return through(own["low"], own["high"])
    except ValueError as why:
        raise Err(f"sensor.{name}: {why}")
