//! What kind of kernel is emulated, and how fast its bus is.

use std::time::Duration;

/// The kernel whose `w1_therm` is emulated. They differ in their files and in who holds the bus for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Release {
    /// Before 5.8: `w1_slave` alone. A failed read is text with `NO`, after up to ten conversions of 750 ms each.
    V5_4,
    /// 5.8 to 6.4: a failed read is empty. Reads of externally powered chips on one bus overlap, since the bus is
    /// free while they wait.
    V5_10,
    /// Since 6.5, and since July 2023 in the stable branches too (commit "w1: w1_therm: fix locking behavior in
    /// convert_t"): a read of an externally powered chip holds its bus for the whole conversion.
    #[default]
    V6_6,
}

/// Where `therm_bulk_read` appears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BulkFile {
    /// With the first chip that supports it, on that chip's bus alone: the kernel has one counter for all buses.
    #[default]
    FirstBus,
    /// On each bus that has a chip that supports it.
    EachBus,
    /// Nowhere.
    Never,
}

/// The name of the file for EEPROM commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EepromFile {
    /// `eeprom_cmd`, since 5.13.
    #[default]
    EepromCmd,
    /// `eeprom`, before.
    Eeprom,
}

impl EepromFile {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::EepromCmd => "eeprom_cmd",
            Self::Eeprom => "eeprom",
        }
    }
}

/// The module parameter `strong_pullup` of `w1_therm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StrongPullUp {
    /// 0: never.
    Off,
    /// 1: for chips that say they have parasite power.
    #[default]
    Auto,
    /// 2: for all.
    Forced,
}

/// How long the bus itself takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// One try to read a scratchpad: reset, match ROM, command, nine bytes. The bus is held.
    pub readout: Duration,
    /// Reset, match ROM and the convert command. The bus is held.
    pub select_and_convert: Duration,
    /// Reset, skip ROM and the convert command, for a trigger. The bus is held.
    pub trigger: Duration,
    /// Every wait of kernel and chip is divided by this: 10 makes a conversion of 750 ms last 75 ms. What
    /// `conv_time` says stays.
    pub speed: u32,
}

impl Timing {
    /// A bus that takes no time; conversions last as they do.
    pub const fn instant() -> Self {
        Self {
            readout: Duration::ZERO,
            select_and_convert: Duration::ZERO,
            trigger: Duration::ZERO,
            speed: 1,
        }
    }

    /// What `w1_gpio` takes, which makes each bit of about 70 µs by hand and sleeps 1 ms in each reset.
    pub const fn bit_banged() -> Self {
        Self {
            readout: Duration::from_micros(12_200),
            select_and_convert: Duration::from_millis(7),
            trigger: Duration::from_millis(3),
            speed: 1,
        }
    }

    /// The same, faster.
    #[must_use]
    pub const fn times_faster(mut self, speed: u32) -> Self {
        self.speed = speed;
        self
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::instant()
    }
}

/// What is mounted.
#[derive(Debug, Clone)]
pub struct KernelOptions {
    /// The kernel's release.
    pub release: Release,
    /// Where `therm_bulk_read` appears; nowhere before 5.8.
    pub bulk_file: BulkFile,
    /// The name of the file for EEPROM commands.
    pub eeprom_file: EepromFile,
    /// When conversions get a strong pull-up.
    pub strong_pull_up: StrongPullUp,
    /// Whether a strong pull-up doubles the wait, as it does in kernels since 5.8: sending the convert command
    /// already waits for the pull-up to end (`w1_io.c`, `w1_post_write`), with the bus held, and `w1_therm` then
    /// sleeps for the conversion again.
    pub pull_up_waits_twice: bool,
    /// How long the bus takes.
    pub timing: Timing,
    /// How long a chip's folder stays after the chip went away. Linux drops it after ten searches, ten seconds
    /// apart by default.
    pub drop_delay: Duration,
    /// Whether each thermometer is in `sys/class/hwmon` too, as it is where hwmon is built in. Its number is the next
    /// one from 0, whatever was put there.
    pub hwmon: bool,
    /// `proc/device-tree/model`, without its NUL.
    pub model: String,
    /// `boot/firmware/config.txt`.
    pub config_txt: String,
}

impl Default for KernelOptions {
    fn default() -> Self {
        Self {
            release: Release::default(),
            bulk_file: BulkFile::default(),
            eeprom_file: EepromFile::default(),
            strong_pull_up: StrongPullUp::default(),
            pull_up_waits_twice: true,
            timing: Timing::default(),
            drop_delay: Duration::ZERO,
            hwmon: false,
            model: "Raspberry Pi 4 Model B Rev 1.4".to_owned(),
            config_txt: "dtoverlay=w1-gpio\n".to_owned(),
        }
    }
}

impl KernelOptions {
    /// A kernel before 5.8.
    pub fn v5_4() -> Self {
        Self { release: Release::V5_4, bulk_file: BulkFile::Never, ..Self::default() }
    }

    /// A kernel from 5.8 to 6.4.
    pub fn v5_10() -> Self {
        Self { release: Release::V5_10, eeprom_file: EepromFile::Eeprom, ..Self::default() }
    }

    /// The same, with all waits divided by a number.
    #[must_use]
    pub const fn times_faster(mut self, speed: u32) -> Self {
        self.timing.speed = speed;
        self
    }
}
