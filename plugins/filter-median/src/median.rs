//! The running median of one sensor. Knows nothing of plugins.

use serde::{Deserialize, Serialize};

/// The last values of one sensor, in the order in which they came and in the order of their size.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Window {
    arrived: std::collections::VecDeque<f64>,
    sorted: Vec<f64>,
    last: u64,
}

impl Window {
    /// Takes one more value and gives the median of the last `size`. Until there are so many, it is the median of
    /// those there are; of an even number, the mean of the middle two.
    pub fn push(&mut self, time: u64, value: f64, size: usize, reset_after: u64) -> f64 {
        if time.saturating_sub(self.last) >= reset_after {
            self.arrived.clear();
            self.sorted.clear();
        }
        self.last = time;
        while self.arrived.len() >= size.max(1) {
            if let Some(oldest) = self.arrived.pop_front() {
                self.remove(oldest);
            }
        }
        self.arrived.push_back(value);
        let place = self.sorted.iter().take_while(|&&v| v < value).count();
        self.sorted.insert(place, value);
        self.median()
    }

    fn remove(&mut self, value: f64) {
        // By bits: the same value went in, and -0.0 is not 0.0 here.
        if let Some(place) = self.sorted.iter().position(|v| v.to_bits() == value.to_bits()) {
            self.sorted.remove(place);
        }
    }

    fn median(&self) -> f64 {
        let middle = self.sorted.len() / 2;
        let upper = self.sorted.get(middle).copied().unwrap_or_default();
        if self.sorted.len() % 2 == 1 {
            return upper;
        }
        let lower = middle.checked_sub(1).and_then(|below| self.sorted.get(below));
        // Halved before they are added, so that the largest numbers do not overflow.
        lower.copied().unwrap_or_default() / 2.0 + upper / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(size: usize, values: &[f64], medians: &[f64]) {
        let mut window = Window::default();
        let got: Vec<f64> =
            (1..).zip(values).map(|(time, &value)| window.push(time, value, size, 1_000)).collect();
        assert_eq!(got, medians);
    }

    #[test]
    fn a_lone_spike_disappears() {
        check(3, &[4.0, 4.1, 85.0, 4.2, 4.3], &[4.0, 4.05, 4.1, 4.2, 4.3]);
        check(5, &[4.0, 4.0, 4.0, -127.0, 4.0, 125.0, 4.0], &[4.0; 7]);
    }

    #[test]
    fn a_real_step_passes_after_half_a_window() {
        check(3, &[4.0, 4.0, 9.0, 9.0, 9.0], &[4.0, 4.0, 4.0, 9.0, 9.0]);
    }

    #[test]
    fn equal_and_signed_zero_values_leave_the_window_rightly() {
        check(3, &[0.0, -0.0, 0.0, -0.0, 5.0, 5.0], &[0.0, 0.0, 0.0, 0.0, 0.0, 5.0]);
    }

    #[test]
    fn a_gap_starts_the_window_anew() {
        let mut window = Window::default();
        for time in 1..=5 {
            window.push(time, 4.0, 5, 1_000);
        }
        assert_eq!(window.push(2_000, 20.0, 5, 1_000), 20.0);
        assert_eq!(window.push(2_001, 21.0, 5, 1_000), 20.5);
    }

    #[test]
    fn equals_the_median_of_a_sorted_copy() {
        let mut random = 12_345_u64;
        let mut window = Window::default();
        let mut last = Vec::new();
        for time in 1..2_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let value = (random >> 40) as f64 / 1_000.0;
            last.push(value);
            let mut sorted = last[last.len().saturating_sub(7)..].to_vec();
            sorted.sort_by(f64::total_cmp);
            let n = sorted.len();
            let expected = if n % 2 == 1 {
                sorted[n / 2]
            } else {
                sorted[n / 2 - 1] / 2.0 + sorted[n / 2] / 2.0
            };
            assert_eq!(window.push(time, value, 7, 1_000), expected);
        }
    }
}
