//! Closed lists of things that have a word on the wire.

use std::fmt;

/// Declares an enum once, with the word that stands for each variant on the wire.
macro_rules! words {
    ($(#[doc = $what:literal])+ $kind:ident { $($(#[doc = $doc:literal])+ $name:ident = $word:literal,)+ }) => {
        $(#[doc = $what])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $kind {
            $($(#[doc = $doc])+ $name,)+
        }

        impl $kind {
            /// All of them, in the order in which they are declared.
            pub const ALL: &'static [$kind] = &[$($kind::$name,)+];

            /// As on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($kind::$name => $word,)+
                }
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Why a measurement failed. The order is that of the plugin contract.
    FaultReason {
        /// The sensor is not on its bus.
        NotPresent = "not-present",
        /// The sensor answered, but the answer's checksum is wrong.
        CrcMismatch = "crc-mismatch",
        /// The read succeeded and was empty.
        NoAnswer = "no-answer",
        /// The chip reports its power-on value: no conversion was made.
        PowerOnValue = "power-on-value",
        /// The chip had too little power to make the conversion.
        InsufficientPower = "insufficient-power",
        /// All nine bytes of the scratchpad are zero.
        AllZero = "all-zero",
        /// The value is outside what the sensor can measure.
        OutOfRange = "out-of-range",
        /// The operating system reported an error, or text that is not a reading.
        IoError = "io-error",
        /// The read did not end in time.
        Timeout = "timeout",
        /// The value is an old one that was given again.
        Stale = "stale",
        /// A stage's plugin trapped while it held this reading.
        PluginTrap = "plugin-trap",
        /// A stage's plugin ran past its deadline.
        PluginDeadline = "plugin-deadline",
        /// A stage's plugin asked for more memory than it may have.
        PluginMemory = "plugin-memory",
    }
}

words! {
    /// Why a reading is uncertain.
    Doubt {
        /// 85 °C, which may be what the chip holds before its first conversion.
        PowerOnValue = "power-on-value",
        /// The first value after the sensor appeared, and one that clones hold before their first conversion.
        FirstReading = "first-reading",
        /// The bytes of the reading before, where they should have changed: the conversion may not have happened.
        Stale = "stale",
    }
}

words! {
    /// How urgent an alarm is.
    Severity {
        /// Good to know.
        Info = "info",
        /// Look at it today.
        Warning = "warning",
        /// Act now.
        Critical = "critical",
    }
}

words! {
    /// What a series measures. The word is the `type` of its messages.
    Quantity {
        /// In degrees Celsius.
        Temperature = "temperature",
        /// Relative humidity, in percent.
        Humidity = "humidity",
        /// In hectopascal.
        Pressure = "pressure",
        /// In lux.
        Illuminance = "illuminance",
        /// In volt.
        Voltage = "voltage",
        /// In ampere.
        Current = "current",
        /// In watt.
        Power = "power",
        /// In ohm.
        Resistance = "resistance",
        /// Share of a gas, in parts per million.
        Concentration = "concentration",
        /// Of a fan, in revolutions per minute.
        Speed = "speed",
    }
}

impl Quantity {
    /// The one unit in which Weir tells it.
    pub const fn unit(self) -> &'static str {
        match self {
            Quantity::Temperature => "celsius",
            Quantity::Humidity => "percent",
            Quantity::Pressure => "hectopascal",
            Quantity::Illuminance => "lux",
            Quantity::Voltage => "volt",
            Quantity::Current => "ampere",
            Quantity::Power => "watt",
            Quantity::Resistance => "ohm",
            Quantity::Concentration => "ppm",
            Quantity::Speed => "rpm",
        }
    }
}
