//! What the runtime asks of the processor: the saturation rule and the number of threads.

/// What the processor does with 8-bit products.
///
/// x86 kernels without VNNI add pairs of products of 8-bit numbers in 16 bits, which can overflow. The rule of the
/// format: exact kernels are asked for exactly where the CPU is x86-64 and has none of AVX512-VNNI, AVX-VNNI, AMX-INT8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    x86: bool,
    vnni: bool,
}

impl Cpu {
    /// This machine's processor.
    pub fn detect() -> Self {
        Self { x86: cfg!(target_arch = "x86_64"), vnni: has_vnni() }
    }

    /// Whether the kernels' faster path saturates, so that `session.x64quantprecision` has to be set.
    pub fn saturates(self) -> bool {
        self.x86 && !self.vnni
    }

    /// Whether 8-bit products are exact and fast here (VNNI or AMX), so that `auto` means `int8`.
    pub fn has_exact_int8(self) -> bool {
        self.vnni
    }

    #[cfg(test)]
    pub(crate) fn new(x86: bool, vnni: bool) -> Self {
        Self { x86, vnni }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_vnni() -> bool {
    is_x86_feature_detected!("avx512vnni") || is_x86_feature_detected!("avxvnni") || has_amx_int8()
}

#[cfg(not(target_arch = "x86_64"))]
fn has_vnni() -> bool {
    false
}

/// The standard library does not detect AMX in stable Rust, the kernel lists it. Every CPU with AMX so far also has
/// AVX512-VNNI, so that nothing depends on this file being there.
#[cfg(target_arch = "x86_64")]
fn has_amx_int8() -> bool {
    let listed = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = listed.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|line| line.split_ascii_whitespace().any(|flag| flag == "amx_int8"))
}

/// Threads that this process may use: affinity and the cgroup's quota count, not the host's cores.
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_x86_without_vnni_saturates_and_only_vnni_is_exact() {
        for (x86, vnni) in [(true, true), (true, false), (false, true), (false, false)] {
            let cpu = Cpu::new(x86, vnni);
            assert_eq!((cpu.saturates(), cpu.has_exact_int8()), (x86 && !vnni, vnni), "{cpu:?}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn detection_agrees_with_the_kernel() {
        let listed = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let has = ["avx512_vnni", "avx_vnni", "amx_int8"].iter().any(|flag| listed.contains(flag));
        let x86 = cfg!(target_arch = "x86_64");
        assert_eq!(Cpu::detect().saturates(), x86 && !has);
        assert_eq!(Cpu::detect().has_exact_int8(), x86 && has);
    }
}
