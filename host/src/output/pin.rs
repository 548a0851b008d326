//! One pin: a real one, or one that only logs.

use rppal::gpio::{Gpio, OutputPin};

/// Something that can be switched on and off.
pub trait Pin: Send {
    /// Switches it.
    fn set(&mut self, on: bool);
}

/// Which pin, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinSettings {
    /// BCM number.
    pub gpio: u8,
    /// Whether on is a low level.
    pub active_low: bool,
    /// Whether changes are only logged.
    pub simulate: bool,
}

/// A pin that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot use GPIO {gpio}: is this a Raspberry Pi, and is the user in the group `gpio`? To try the pipeline without \
     the pin, add `simulate = true` to its [[output]]"
)]
pub struct PinError {
    gpio: u8,
    #[source]
    source: rppal::gpio::Error,
}

/// Takes a pin, switched off.
pub fn open(settings: PinSettings) -> Result<Box<dyn Pin>, PinError> {
    let PinSettings { gpio, active_low, simulate } = settings;
    if simulate {
        tracing::warn!(gpio, "The pin is simulated: its changes are only logged.");
        return Ok(Box::new(SimulatedPin { gpio, on: false }));
    }
    let failed = |source| PinError { gpio, source };
    let pin = Gpio::new().and_then(|gpio_chip| gpio_chip.get(gpio)).map_err(failed)?;
    let pin = if active_low { pin.into_output_high() } else { pin.into_output_low() };
    Ok(Box::new(RealPin { pin, active_low }))
}

struct RealPin {
    pin: OutputPin,
    active_low: bool,
}

impl Pin for RealPin {
    fn set(&mut self, on: bool) {
        if on == self.active_low {
            self.pin.set_low();
        } else {
            self.pin.set_high();
        }
    }
}

/// When a pipeline ends, its buzzer must not go on; rppal itself only gives the pin back.
impl Drop for RealPin {
    fn drop(&mut self) {
        self.set(false);
    }
}

struct SimulatedPin {
    gpio: u8,
    on: bool,
}

impl Pin for SimulatedPin {
    fn set(&mut self, on: bool) {
        if on != self.on {
            self.on = on;
            tracing::info!(gpio = self.gpio, on, "The simulated pin was switched.");
        }
    }
}
