//! Programs that run for as long as this one does, and others that run on.

#![allow(unsafe_code, reason = "what runs between fork and exec")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid, setsid};

/// Has the kernel end the program that `command` will start when the thread that starts it ends, even by SIGKILL.
///
/// For children that wait for something that may not come for hours: nobody else would end them. Start it from the main
/// thread, or from one that lasts.
pub fn end_with_parent(command: &mut Command) {
    let parent = Pid::this();
    let prepare = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have ended before: then nobody is told any more.
        if getppid() != parent {
            return Err(io::Error::from(Errno::ESRCH));
        }
        Ok(())
    };
    // SAFETY: between fork and exec only prctl(2) and getppid(2) are called, which are async-signal-safe;
    // nothing is allocated, and the closure holds a number.
    unsafe {
        command.pre_exec(prepare);
    }
}

/// Has the program that `command` will start run in a session of its own: it has no terminal, whose end would end it, and
/// Ctrl-C is not for it.
pub fn in_own_session(command: &mut Command) {
    let prepare = || Ok(setsid().map(drop)?);
    // SAFETY: between fork and exec only setsid(2) is called, which is async-signal-safe; nothing is allocated.
    unsafe {
        command.pre_exec(prepare);
    }
}
