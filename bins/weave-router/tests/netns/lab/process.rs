//! A program that runs inside a namespace, and never longer than the test.

use std::fs::File;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use weave_io::host::NetNs;

/// A running program; killed when this goes out of scope.
pub(crate) struct Process {
    pid: Pid,
    end: Arc<End>,
    keeper: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct End {
    status: Mutex<Option<ExitStatus>>,
    came: Condvar,
}

impl Process {
    /// Starts a program in a namespace, with its output in `log`.
    ///
    /// It asks the kernel (by `setpriv`) to be killed when its parent is, so that nothing survives a test that was
    /// killed. The kernel means the parent *thread*; so the thread that starts it stays until it ends.
    pub(crate) fn start(namespace: &NetNs, program: &str, arguments: &[String], log: File) -> Self {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", program])
            .args(arguments);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let (report, pid) = mpsc::channel();
        let end = Arc::new(End::default());
        let (namespace, own_end) = (namespace.clone(), Arc::clone(&end));
        let keeper = thread::spawn(move || {
            namespace.enter_current_thread().unwrap();
            let mut child = command.spawn().expect("setpriv is installed");
            let pid = Pid::from_raw(child.id().try_into().unwrap());
            report.send(pid).unwrap();
            // The number stays the program's until it is reaped, under the lock that `signal` takes.
            waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
            let mut status = own_end.status.lock().unwrap();
            *status = Some(child.wait().unwrap());
            own_end.came.notify_all();
        });
        let pid = pid.recv().expect("the thread says so, or has said why not");
        Self {
            pid,
            end,
            keeper: Some(keeper),
        }
    }

    /// Sends a signal, unless it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        let status = self.end.status.lock().unwrap();
        if status.is_none() {
            kill(self.pid, signal).unwrap();
        }
    }

    /// Waits for its end, so long at most.
    pub(crate) fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        let status = self.end.status.lock().unwrap();
        let (status, _) = self
            .end
            .came
            .wait_timeout_while(status, limit, |status| status.is_none())
            .unwrap();
        *status
    }

    /// It has not ended.
    pub(crate) fn is_running(&self) -> bool {
        self.end.status.lock().unwrap().is_none()
    }

    /// Its number.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}
