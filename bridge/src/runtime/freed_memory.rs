//! What the C library does with memory that is freed. The GNU C library keeps most of it unless it is told otherwise.

/// Returns the memory that this process has freed to the system.
pub(crate) use platform::return_free_memory;

/// Lets the C library map each large block on its own from now on, so that the system gets it back when it is freed.
///
/// By default, the GNU C library raises the size from which it does so to that of the largest block that was ever freed,
/// up to 32 MiB. Blocks of weights then lie among those of running calls, and the memory of a process that reloads models
/// under load grows for hours. A host that sets the size itself keeps its own.
pub(crate) use platform::map_large_blocks;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod platform {
    use std::env;
    use std::ffi::c_int;
    use std::sync::Once;

    /// Options of `mallopt`, from the GNU C library's malloc.h.
    const TRIM_THRESHOLD: c_int = -1;
    const MMAP_THRESHOLD: c_int = -3;
    /// From this size on, in bytes, a block is mapped on its own. Most weights are larger, most texts and vectors are not.
    const LARGE: c_int = 1 << 20;

    // The declarations of the C library: `int malloc_trim(size_t pad)` and `int mallopt(int param, int value)`. They have
    // no requirements on their callers.
    #[allow(unsafe_code)]
    unsafe extern "C" {
        safe fn malloc_trim(pad: usize) -> c_int;
        safe fn mallopt(option: c_int, value: c_int) -> c_int;
    }

    pub(crate) fn return_free_memory() {
        malloc_trim(0);
    }

    pub(crate) fn map_large_blocks() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            if !is_set_by_host() {
                mallopt(MMAP_THRESHOLD, LARGE);
                // The default of 128 KiB would return and request the end of the heap again and again.
                mallopt(TRIM_THRESHOLD, 2 * LARGE);
            }
        });
    }

    fn is_set_by_host() -> bool {
        let tunables = env::var("GLIBC_TUNABLES").unwrap_or_default();
        env::var_os("MALLOC_MMAP_THRESHOLD_").is_some() || tunables.contains("glibc.malloc.mmap_threshold")
    }
}

/// Other C libraries return freed memory themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod platform {
    pub(crate) fn return_free_memory() {}

    pub(crate) fn map_large_blocks() {}
}
