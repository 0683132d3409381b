//! What a signal does to this process: whether it is ignored, and whether it is pending.

use std::{mem::MaybeUninit, ptr};

/// Whether a signal is ignored, as it is under `nohup`.
pub(crate) fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null pointer changes nothing, and the other pointer is valid for writes. Zeroes are a valid
    // value too, the default action, and stay there if the number is not a signal.
    #[allow(unsafe_code)]
    let action = unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}

/// Whether one of these signals has been sent to this process and no thread has taken it yet.
///
/// `sigpending` would not tell: it reports blocked signals only.
#[cfg(target_os = "linux")]
pub(crate) fn is_pending(signals: &[libc::c_int]) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    let Some(pending) = pending.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()) else {
        return false;
    };
    signals.iter().any(|signal| (1..=64).contains(signal) && pending >> (signal - 1) & 1 == 1)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_pending(_: &[libc::c_int]) -> bool {
    false
}
