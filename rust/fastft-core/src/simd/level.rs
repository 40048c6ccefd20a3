//! Which vector instructions are used: the best that the processor has, or those asked for.

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use super::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use super::avx512::Avx512;
use super::lanes::Kernel;
use super::scalar::Scalar;
use crate::error::{Error, Result};

/// The variable that asks for a level: `scalar`, `avx2` or `avx512`.
pub(super) const VARIABLE: &str = "FASTFT_SIMD";

/// One set of vector instructions that this processor has.
#[derive(Debug, Clone, Copy)]
pub struct Level(Kind);

#[derive(Debug, Clone, Copy)]
enum Kind {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Level {
    /// Plain Rust, everywhere.
    pub const SCALAR: Self = Self(Kind::Scalar);

    /// What `FASTFT_SIMD` asked for when it was first looked at, else the best.
    ///
    /// # Errors
    ///
    /// Those of [`Level::named`].
    pub fn chosen() -> Result<Self> {
        static CHOSEN: OnceLock<Result<Level>> = OnceLock::new();
        let choose =
            || std::env::var(VARIABLE).map_or_else(|_| Ok(Self::best()), |n| Self::named(&n));
        CHOSEN.get_or_init(choose).clone()
    }

    /// All that the processor has, the best last.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let names = ["scalar", "avx2", "avx512"];
        names.iter().filter_map(|name| Self::find(name)).collect()
    }

    /// The best that the processor has.
    #[must_use]
    pub fn best() -> Self {
        Self::available().pop().unwrap_or(Self::SCALAR)
    }

    /// The level of this name; an empty name means the best.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchSimd`] for a name that nobody knows or that the processor does not have.
    pub fn named(name: &str) -> Result<Self> {
        if name.is_empty() {
            return Ok(Self::best());
        }
        Self::find(name).ok_or_else(|| Error::NoSuchSimd {
            name: name.to_owned(),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "avx512",
        }
    }

    fn find(name: &str) -> Option<Self> {
        match name {
            "scalar" => Some(Self::SCALAR),
            #[cfg(target_arch = "x86_64")]
            "avx2" => Avx2::detect().map(Kind::Avx2).map(Self),
            #[cfg(target_arch = "x86_64")]
            "avx512" => Avx512::detect().map(Kind::Avx512).map(Self),
            _ => None,
        }
    }

    /// Runs a kernel with these instructions.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Outcome {
        match self.0 {
            Kind::Scalar => kernel.run(Scalar),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(lanes) => lanes.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(lanes) => lanes.run(kernel),
        }
    }
}
