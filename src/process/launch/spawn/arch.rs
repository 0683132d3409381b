//! The few instructions that no library offers: a bare system call, and a `clone3` whose child continues in
//! a function of ours on a stack of its own.
//!
//! Both are needed because the child of a launch shares its parent's memory, thread-local storage included.
//! It must not touch `errno`, and it cannot return on a stack that its parent still needs.

use std::arch::asm;

/// A bare system call: no `errno`, no cancellation point, nothing but the kernel. Errors are `-errno`.
///
/// # Safety
/// The arguments must be what the kernel expects of this call.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[inline(always)]
pub(super) unsafe fn call(number: libc::c_long, args: [usize; 5]) -> isize {
    let [a, b, c, d, e] = args;
    let result: isize;
    // SAFETY: the kernel's calling convention; it changes `rcx` and `r11`, the result comes in `rax`. The
    // rest is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// A bare system call: no `errno`, no cancellation point, nothing but the kernel. Errors are `-errno`.
///
/// # Safety
/// The arguments must be what the kernel expects of this call.
#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code)]
#[inline(always)]
pub(super) unsafe fn call(number: libc::c_long, args: [usize; 5]) -> isize {
    let [a, b, c, d, e] = args;
    let result: isize;
    // SAFETY: the kernel's calling convention; it keeps all registers but `x0`, where the result comes. The
    // rest is the caller's promise.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            options(nostack),
        );
    }
    result
}

/// `clone3`: the parent gets the child's id, or `-errno`; the child calls `entry(data)` on the stack that
/// `args` names.
///
/// # Safety
/// `args` must be `size` readable bytes of valid arguments that name a stack, aligned to 16 bytes, that is
/// large enough for `entry` and not used otherwise until the child has ended or executed another program.
/// They must suspend the caller until then (`CLONE_VFORK`), and `data` must be what `entry` expects.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub(super) unsafe fn clone3<T>(
    args: *const u8,
    size: usize,
    entry: unsafe extern "C" fn(*mut T) -> !,
    data: *mut T,
) -> isize {
    let result: isize;
    // SAFETY: in the parent this is a system call like any other: the stack pointer has not moved, and only
    // `rax`, `rcx` and `r11` have changed. The child has a copy of all registers but `rax` and `rsp`; it
    // never leaves the block, since `entry` does not return. The stack is aligned to 16 bytes before the
    // call, as the C calling convention demands. What the child writes to the memory that both share is,
    // for the compiler, written by this block, which may write to any memory, while the parent is suspended
    // in it.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r9",
            "call r8",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 as isize => result,
            in("rdi") args, in("rsi") size, in("r8") entry, in("r9") data,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    result
}

/// `clone3`: the parent gets the child's id, or `-errno`; the child calls `entry(data)` on the stack that
/// `args` names.
///
/// # Safety
/// `args` must be `size` readable bytes of valid arguments that name a stack, aligned to 16 bytes, that is
/// large enough for `entry` and not used otherwise until the child has ended or executed another program.
/// They must suspend the caller until then (`CLONE_VFORK`), and `data` must be what `entry` expects.
#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code)]
pub(super) unsafe fn clone3<T>(
    args: *const u8,
    size: usize,
    entry: unsafe extern "C" fn(*mut T) -> !,
    data: *mut T,
) -> isize {
    let result: isize;
    // SAFETY: in the parent this is a system call like any other: the stack pointer has not moved, and only
    // `x0` has changed. The child has a copy of all registers but `x0` and `sp`; it never leaves the block,
    // since `entry` does not return, so what it does to the frame and link registers does not matter. What
    // the child writes to the memory that both share is, for the compiler, written by this block, which may
    // write to any memory, while the parent is suspended in it.
    unsafe {
        asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x10",
            "blr x11",
            "brk #1",
            "2:",
            in("x8") libc::SYS_clone3,
            inlateout("x0") args => result,
            in("x1") size, in("x10") data, in("x11") entry,
        );
    }
    result
}
