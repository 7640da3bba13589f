// SPDX-License-Identifier: GPL-2.0

//! `shadowmm run`: a program whose anonymous private memory goes into a window.

use crate::args;
use crate::context::json;
use crate::context::Context;
use crate::error::Error;
use crate::error::Result;
use crate::interrupt;
use crate::render::bytes;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal;
use nix::sys::signal::SaFlags;
use nix::sys::signal::SigAction;
use nix::sys::signal::SigHandler;
use nix::sys::signal::SigSet;
use nix::sys::signal::SigmaskHow;
use nix::sys::signal::Signal;
use nix::unistd::mkdtemp;
use serde::Serialize;
use serde::Serializer;
use shadowmm_abi::stats::NAME;
use shadowmm_abi::stats::SIZE as STATS_SIZE;
use shadowmm_abi::stats::SLOT;
use std::env;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::path::PathBuf;
use std::process;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;

const LIBRARY: &str = "libshadowmm_preload.so";

/// The file that the processes count in, which goes with this.
///
/// The directory is new, and this user's alone: in one that is everybody's somebody could
/// have put a link to another file where this one will be.
struct Stats {
    dir: PathBuf,
}

impl Stats {
    fn new() -> Result<Self> {
        let template = env::temp_dir().join("shadowmm-run-XXXXXX");
        let dir = mkdtemp(&template).map_err(|error| {
            let place = env::temp_dir();
            let what = format!("could not make a directory in {}: {error}", place.display());
            Error::failed(what).with_advice("name another place in TMPDIR")
        })?;
        let stats = Self { dir };
        fs::write(stats.path(), [0; STATS_SIZE]).map_err(Error::Output)?;
        Ok(stats)
    }

    fn path(&self) -> PathBuf {
        self.dir.join("stats")
    }
}

impl Drop for Stats {
    fn drop(&mut self) {
        // The program may have removed it.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Where the library is.
fn library() -> Result<PathBuf> {
    let beside = env::current_exe().ok();
    let beside = beside.as_deref().and_then(|path| path.parent());
    let places = [
        env::var_os("SHADOWMM_PRELOAD").map(PathBuf::from),
        beside.map(|dir| dir.join(LIBRARY)),
        beside.map(|dir| dir.join("../lib/shadowmm").join(LIBRARY)),
    ];
    // The program, and its children, may be anywhere else.
    let found = places
        .into_iter()
        .flatten()
        .find_map(|path| path.canonicalize().ok());
    let found = found.ok_or_else(|| {
        Error::failed(format!("there is no {LIBRARY}"))
            .with_advice("install it beside this command, or name it in SHADOWMM_PRELOAD")
    })?;
    if found
        .as_os_str()
        .as_bytes()
        .iter()
        .any(|byte| b" \t\n:".contains(byte))
    {
        let what = format!(
            "{} can't be preloaded: its path has a space or a colon",
            found.display()
        );
        return Err(Error::failed(what).with_advice("name it by another path in SHADOWMM_PRELOAD"));
    }
    Ok(found)
}

/// What is to be preloaded: the library, and behind it what was to be already.
fn preloaded(library: &Path, others: Option<OsString>) -> OsString {
    let mut all = library.as_os_str().to_owned();
    if let Some(others) = others.filter(|others| !others.is_empty()) {
        all.push(":");
        all.push(others);
    }
    all
}

/// A program that could not be started: said here, with the exit status that env(1) has for it.
fn not_started(program: &OsStr, error: &io::Error) -> ! {
    eprintln!(
        "shadowmm: could not run {}: {error}",
        program.to_string_lossy()
    );
    process::exit(match error.kind() {
        io::ErrorKind::NotFound => 127,
        _ => 126,
    })
}

/// The program ignores SIGPIPE if this command was started so (systemd's `IgnoreSIGPIPE=`): what
/// is started by Rust has the default action.
fn keep_pipe(command: &mut Command, is_ignored: bool) {
    let ignore = move || {
        if is_ignored {
            // SAFETY: To ignore a signal runs no code.
            unsafe { signal::signal(Signal::SIGPIPE, SigHandler::SigIgn)? };
        }
        Ok(())
    };
    // SAFETY: Between fork and exec that calls sigaction(2) alone.
    unsafe { command.pre_exec(ignore) };
}

/// Waits until a child has ended, and leaves it: its number is nobody else's yet.
fn wait_until_ended(child: &Child) {
    let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
    let options = libc::WEXITED | libc::WNOWAIT;
    // SAFETY: There is room for what is told.
    while unsafe { libc::waitid(libc::P_PID, child.id(), info.as_mut_ptr(), options) } != 0
        && Errno::last() == Errno::EINTR
    {}
}

/// Runs the program and waits for it. Who ends it from the terminal, where it may stay, does not end
/// this command before it (system(3)); what would end this command alone is the program's to decide.
fn wait_for(command: &mut Command) -> io::Result<ExitStatus> {
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGTERM);
    ends.add(Signal::SIGHUP);
    // None is lost before there is somebody to pass it on to.
    let mask = ends.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    let [interrupt, quit] = [Signal::SIGINT, Signal::SIGQUIT].map(|number| {
        // SAFETY: To ignore a signal runs no code.
        unsafe { signal::sigaction(number, &ignore) }
    });
    let before = [
        (Signal::SIGINT, interrupt?),
        (Signal::SIGQUIT, quit?),
        (Signal::SIGTERM, interrupt::pass_on_signal(Signal::SIGTERM)?),
        (Signal::SIGHUP, interrupt::pass_on_signal(Signal::SIGHUP)?),
    ];
    let as_before = move || {
        for (number, old) in &before {
            // SAFETY: They are what they were when this command began, which had no handlers.
            unsafe { signal::sigaction(*number, old)? };
        }
        mask.thread_set_mask()?;
        Ok(())
    };
    // SAFETY: Between fork and exec that calls sigaction(2) and sigprocmask(2) alone.
    unsafe { command.pre_exec(as_before) };
    let mut child = command.spawn()?;
    interrupt::pass_on_to(child.id() as i32);
    mask.thread_set_mask()?;
    wait_until_ended(&child);
    interrupt::pass_on_to(0);
    child.wait()
}

/// Runs the program, and ends as it does.
pub fn run(context: &Context, args: &args::Run) -> Result<()> {
    // What is wrong with the device is said here, not by each program.
    drop(context.open()?);
    let library = library()?;
    let Some((program, rest)) = args.command.split_first() else {
        return Err(Error::failed("there is no program to run"));
    };
    let mut command = Command::new(program);
    command
        .args(rest)
        .env("LD_PRELOAD", preloaded(&library, env::var_os("LD_PRELOAD")));
    if args.shared {
        command.env("SHADOWMM_SHARED", "1");
    }
    keep_pipe(&mut command, interrupt::is_pipe_ignored());
    if !args.stats {
        // Its place is taken by the program, and so is its end.
        not_started(program, &command.exec());
    }
    let stats = Stats::new()?;
    command.env("SHADOWMM_STATS", stats.path());
    let status = match wait_for(&mut command) {
        Ok(status) => status,
        Err(error) => {
            drop(stats);
            not_started(program, &error)
        }
    };
    // stdout is the program's, and so is the exit status, whatever becomes of the counters.
    match fs::read(stats.path()) {
        Ok(counted) => eprint!("{}", Counted::new(counters(&counted)).text(context.json)?),
        Err(error) => eprintln!("shadowmm run: what was counted can't be read: {error}"),
    }
    drop(stats);
    // As a shell has it, where a signal has ended it.
    let signal = || 128 + status.signal().unwrap_or(0);
    process::exit(status.code().unwrap_or_else(signal))
}

/// What went into windows, and what did not.
#[derive(Debug, Serialize)]
struct Counted {
    /// Whether anything did.
    redirected: bool,
    /// In the library's order.
    #[serde(serialize_with = "as_map")]
    stats: Vec<(String, u64)>,
}

fn as_map<S: Serializer>(stats: &[(String, u64)], to: S) -> std::result::Result<S::Ok, S::Error> {
    to.collect_map(stats.iter().map(|(name, value)| (name, value)))
}

impl Counted {
    fn new(stats: Vec<(String, u64)>) -> Self {
        let redirected = ["mmap", "brk"].iter().any(|name| value(&stats, name) != 0);
        Self { redirected, stats }
    }

    /// What is written to stderr.
    fn text(&self, as_json: bool) -> Result<String> {
        if as_json {
            return json(self, false);
        }
        let lines = self
            .stats
            .iter()
            .map(|(name, value)| format!("shadowmm run: {name} {value}\n"));
        let mut text: String = lines.collect();
        if let Some(why) = self.why_nothing() {
            text.push_str(&format!("shadowmm run: {why}\n"));
        }
        Ok(text)
    }

    /// What was left to the host, in a sentence's rest.
    fn left(&self) -> String {
        let left = self.stats.iter();
        let left = left.filter(|(name, value)| name.starts_with("left_") && *value != 0);
        let texts: Vec<_> = left
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        match texts.is_empty() {
            true => String::new(),
            false => format!("; left to the host: {}", texts.join(", ")),
        }
    }

    /// Where nothing went into a window, a sentence about that.
    fn why_nothing(&self) -> Option<String> {
        let of = |name| value(&self.stats, name);
        match () {
            () if self.redirected => None,
            () if of("processes") == 0 => Some("Nothing went into a window, because no process has loaded the library: the program is linked statically, or runs with other rights than its caller's.".to_owned()),
            () if of("windows") == 0 => Some("Nothing went into a window, because none could be mapped: a limit of the address space (ulimit -v, RLIMIT_AS) counts all of it.".to_owned()),
            () => Some(format!(
                "Nothing went into a window: by mmap and brk nothing was asked for that could{}. What malloc asks for inside the C library is not redirected (here the program got {} of the host's data, and its heap grew by {}).",
                self.left(),
                bytes(of("host_data_bytes")),
                bytes(of("libc_heap_bytes"))
            )),
        }
    }
}

fn value(stats: &[(String, u64)], name: &str) -> u64 {
    let mut all = stats.iter();
    all.find(|(own, _)| own == name)
        .map_or(0, |&(_, value)| value)
}

/// What was counted, in the library's order.
fn counters(stats: &[u8]) -> Vec<(String, u64)> {
    let slots = stats.chunks_exact(SLOT);
    let named = slots.filter_map(|slot| {
        let (name, value) = slot.split_at(NAME);
        let name = name.split(|&byte| byte == 0).next()?;
        let value = u64::from_le_bytes(value.try_into().ok()?);
        (!name.is_empty()).then(|| (String::from_utf8_lossy(name).into_owned(), value))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_counted_is_nobody_elses_and_goes_in_the_end() {
        let stats = Stats::new().unwrap();
        let other = Stats::new().unwrap();
        assert_ne!(stats.path(), other.path());
        let dir = stats.dir.clone();
        let mode = fs::metadata(&dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(counters(&fs::read(stats.path()).unwrap()).is_empty());
        drop(stats);
        assert!(!dir.exists() && other.path().exists());
    }

    #[test]
    fn what_was_to_be_preloaded_still_is() {
        let library = Path::new("/lib/own.so");
        assert_eq!(preloaded(library, None), "/lib/own.so");
        assert_eq!(preloaded(library, Some("".into())), "/lib/own.so");
        assert_eq!(preloaded(library, Some("a.so".into())), "/lib/own.so:a.so");
    }

    #[test]
    fn an_ignored_sigpipe_stays_so_and_no_other() {
        for is_ignored in [true, false] {
            let mut command = Command::new("cat");
            command.arg("/proc/self/status");
            keep_pipe(&mut command, is_ignored);
            let status = String::from_utf8(command.output().unwrap().stdout).unwrap();
            let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
            let ignored = u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
            assert_eq!(
                (ignored >> (Signal::SIGPIPE as u32 - 1)) & 1 == 1,
                is_ignored
            );
        }
    }

    #[test]
    fn who_ends_this_command_leaves_the_end_to_the_program() {
        let script =
            "trap 'exit 7' TERM; for time in 1 2 3 4 5 6 7 8 9; do kill -TERM $PPID; sleep 1; done";
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        assert_eq!(wait_for(&mut command).unwrap().code(), Some(7));
    }

    #[test]
    fn counters_have_names() {
        let mut stats = [0; STATS_SIZE];
        stats[..4].copy_from_slice(b"mmap");
        stats[NAME] = 7;
        stats[SLOT..SLOT + 3].copy_from_slice(b"brk");
        stats[SLOT + NAME + 1] = 1;
        let all = [("mmap".to_owned(), 7), ("brk".to_owned(), 256)];
        assert_eq!(counters(&stats), all);
    }

    fn counted(all: &[(&str, u64)]) -> Counted {
        let stats = all.iter().map(|&(name, value)| (name.to_owned(), value));
        Counted::new(stats.collect())
    }

    #[test]
    fn where_nothing_went_into_a_window_that_is_said() {
        let malloc = counted(&[
            ("processes", 1),
            ("windows", 1),
            ("mmap", 0),
            ("host_data_bytes", 8192),
        ]);
        let text = malloc.text(false).unwrap();
        assert!(text.starts_with("shadowmm run: processes 1\nshadowmm run: windows 1\n"));
        assert!(
            text.contains("Nothing went into a window: by mmap")
                && text.contains("got 8 KiB of the host's data")
        );
        let left = counted(&[
            ("processes", 1),
            ("windows", 1),
            ("left_file", 3),
            ("left_fixed", 0),
        ]);
        let text = left.text(false).unwrap();
        assert!(text.contains("that could; left to the host: left_file 3. What malloc"));
        let limited = counted(&[("processes", 1), ("left_other", 3)]);
        assert!(limited.text(false).unwrap().contains("ulimit -v"));
        let none = counted(&[]).text(false).unwrap();
        assert!(none.contains("no process has loaded the library"));
        for some in [
            counted(&[("processes", 1), ("mmap", 3)]),
            counted(&[("processes", 1), ("brk", 1)]),
        ] {
            assert!(!some.text(false).unwrap().contains("Nothing went"));
        }
    }

    #[test]
    fn as_json_it_is_one_object_on_a_line() {
        let text = counted(&[("processes", 1), ("mmap", 3)])
            .text(true)
            .unwrap();
        assert_eq!(
            text,
            "{\"redirected\":true,\"stats\":{\"processes\":1,\"mmap\":3}}\n"
        );
    }
}
