//! Properties of the processor: whether its products of 8-bit integers can saturate, and how many threads the process
//! may use.

/// How the processor computes products of 8-bit integers.
///
/// x86 kernels without VNNI add pairs of products of 8-bit integers in 16 bits, which can saturate. Therefore the format
/// requires the exact, slower kernels on x86-64 CPUs without AVX512-VNNI, AVX-VNNI and AMX-INT8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    x86: bool,
    vnni: bool,
}

impl Cpu {
    /// The properties of this machine's processor.
    pub fn detect() -> Self {
        Self { x86: cfg!(target_arch = "x86_64"), vnni: has_vnni() }
    }

    /// Whether the sums of ONNX Runtime's default 8-bit kernels can saturate. If so, the session option
    /// `session.x64quantprecision` has to be set.
    pub fn saturates(self) -> bool {
        self.x86 && !self.vnni
    }

    /// Whether products of 8-bit integers are exact and fast (VNNI or AMX). If so, the variant `auto` selects `int8`.
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

/// Whether the Linux kernel lists AMX, which stable Rust cannot detect. If the list is missing, nothing changes: all
/// CPUs with AMX so far also have AVX512-VNNI.
#[cfg(target_arch = "x86_64")]
fn has_amx_int8() -> bool {
    let listed = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = listed.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|line| line.split_ascii_whitespace().any(|flag| flag == "amx_int8"))
}

/// The number of threads that this process may use, by its CPU affinity and its cgroup's quota.
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x86_without_vnni_saturates_and_vnni_is_exact() {
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
