//! A straight line from measured to true values. Knows nothing of plugins.

/// `true = gain × measured + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Degrees for a degree.
    pub gain: f64,
    /// In the unit of the values.
    pub offset: f64,
}

/// One comparison with a trusted thermometer.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// What the sensor showed.
    pub measured: f64,
    /// What was true.
    pub reference: f64,
}

/// Reference points closer than this, in degrees, magnify the sensor's own steps of 1/16 degree into the gain.
const CLOSEST_POINTS: f64 = 1.0;

impl Line {
    /// The line through two reference points.
    pub fn through(low: Point, high: Point) -> Result<Line, String> {
        let span = high.measured - low.measured;
        // NaN is in no range, so it is refused as well.
        if !(CLOSEST_POINTS..=f64::MAX).contains(&span) {
            return Err(format!(
                "`low.measured` is {} and `high.measured` is {}: they must be at least {CLOSEST_POINTS} apart, \
                 the lower one first",
                low.measured, high.measured
            ));
        }
        let gain = (high.reference - low.reference) / span;
        if !(0.5..=2.0).contains(&gain) {
            return Err(format!(
                "the two points give a gain of {gain}: it must be from 0.5 to 2, so one of them is wrong"
            ));
        }
        Ok(Line { gain, offset: low.reference - gain * low.measured })
    }

    /// The true value for a measured one.
    #[inline]
    pub fn at(self, measured: f64) -> f64 {
        self.gain * measured + self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(low: (f64, f64), high: (f64, f64)) -> Result<Line, String> {
        let point = |(measured, reference)| Point { measured, reference };
        Line::through(point(low), point(high))
    }

    #[test]
    fn two_points_give_a_line_that_passes_through_both() {
        let line = through((0.5, 0.0), (20.0, 20.25)).unwrap();
        assert!((line.at(0.5) - 0.0).abs() < 1e-12);
        assert!((line.at(20.0) - 20.25).abs() < 1e-12);
        assert!((line.gain - 20.25 / 19.5).abs() < 1e-12);
    }

    #[test]
    fn points_that_cannot_be_right_are_refused() {
        for (low, high, expected) in [
            ((20.0, 20.0), (0.0, 0.0), "at least 1 apart"),
            ((4.0, 4.0), (4.5, 4.6), "at least 1 apart"),
            ((f64::NAN, 0.0), (20.0, 20.0), "at least 1 apart"),
            ((0.0, 0.0), (10.0, 60.0), "a gain of 6"),
            ((0.0, 10.0), (10.0, 0.0), "a gain of -1"),
        ] {
            let error = through(low, high).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
