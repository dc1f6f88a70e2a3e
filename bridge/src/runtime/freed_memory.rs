//! Returns freed memory to the system.

/// Returns the memory that this process has freed to the system. The GNU C library keeps most of it otherwise.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn return_free_memory() {
    // The declaration of the C library: `int malloc_trim(size_t pad)`. It has no requirements on its caller.
    #[allow(unsafe_code)]
    unsafe extern "C" {
        safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    malloc_trim(0);
}

/// Other C libraries return freed memory themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn return_free_memory() {}
