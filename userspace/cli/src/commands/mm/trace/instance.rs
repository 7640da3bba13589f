// SPDX-License-Identifier: GPL-2.0

//! Where events are listened to: a tracing instance of this process's own, with buffers and
//! switches that nobody else sees (`/sys/kernel/tracing/instances`), or where none can be
//! had, those that all have.

use nix::libc;
use std::fs;
use std::fs::File;
use std::io;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process;

/// How a line looks that is to be taken apart. One that this kernel has not is as it was.
const OPTIONS: [(&str, &str); 7] = [
    ("context-info", "1"),
    ("irq-info", "1"),
    ("record-cmd", "1"),
    ("record-tgid", "0"),
    ("raw", "0"),
    ("hex", "0"),
    ("bin", "0"),
];

/// Events that are on while this is there.
#[derive(Debug)]
pub struct Listening {
    dir: PathBuf,
    /// Whether the directory is this process's.
    is_own: bool,
    /// What was switched on.
    switches: Vec<PathBuf>,
    pipe: Option<File>,
}

/// The module's events whose names begin so.
fn events(dir: &Path, prefixes: &[&str]) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir.join("events/shadowmm"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            found.push(path.join("enable"));
        }
    }
    found.sort();
    Ok(found)
}

/// Makes the instance. One of the same name is of a process that was killed.
fn make(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir).or_else(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            fs::remove_dir(dir)?;
            fs::create_dir(dir)
        }
        _ => Err(error),
    })
}

impl Listening {
    /// Listens to the module's events whose names begin so, and says why that is where all do
    /// (the second), if it is.
    ///
    /// # Errors
    ///
    /// Those of tracefs, where it is not mounted, or has no such events.
    pub fn begin(tracing: &Path, prefixes: &[&str]) -> io::Result<(Self, Option<io::Error>)> {
        // Without them there is nothing to make an instance for.
        events(tracing, prefixes)?;
        let own = tracing.join(format!("instances/shadowmm-{}", process::id()));
        let (dir, refused) = match make(&own) {
            Ok(()) => (own, None),
            Err(error) => (tracing.to_owned(), Some(error)),
        };
        let mut listening = Self {
            is_own: refused.is_none(),
            dir,
            switches: Vec::new(),
            pipe: None,
        };
        listening.open(prefixes)?;
        Ok((listening, refused))
    }

    fn open(&mut self, prefixes: &[&str]) -> io::Result<()> {
        if self.is_own {
            for (option, value) in OPTIONS {
                let _ = fs::write(self.dir.join("options").join(option), value);
            }
        }
        let mut options = fs::OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        self.pipe = Some(options.open(self.dir.join("trace_pipe"))?);
        for switch in events(&self.dir, prefixes)? {
            // What somebody else has on stays on.
            if fs::read_to_string(&switch)?.starts_with('0') {
                fs::write(&switch, "1")?;
                self.switches.push(switch);
            }
        }
        Ok(())
    }

    /// Nothing more is to come, if that can be had: what has come can be read to its end.
    pub fn stop(&mut self) -> bool {
        self.is_own && fs::write(self.dir.join("tracing_on"), "0").is_ok()
    }

    /// What has come, for the reader.
    pub fn pipe(&mut self) -> Option<&mut File> {
        self.pipe.as_mut()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // An instance whose pipe is open is busy.
        self.pipe = None;
        for switch in &self.switches {
            // The module may have gone, and its events with it.
            let _ = fs::write(switch, "0");
        }
        if self.is_own {
            if let Err(error) = fs::remove_dir(&self.dir) {
                eprintln!("shadowmm: {} is left: {error}", self.dir.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that looks like tracefs.
    fn tracefs(dir: &Path) {
        for event in ["mm_fault_vma", "mm_fault_page", "mm_page_alloc", "kfree"] {
            let event = dir.join("events/shadowmm").join(event);
            fs::create_dir_all(&event).expect("a directory");
            fs::write(event.join("enable"), "0\n").expect("a file");
        }
        fs::write(dir.join("trace_pipe"), "").expect("a file");
    }

    fn enabled(dir: &Path, event: &str) -> String {
        let path = dir.join("events/shadowmm").join(event).join("enable");
        fs::read_to_string(path).expect("a file").trim().to_owned()
    }

    #[test]
    fn without_an_instance_the_common_place_is_taken_and_left_as_it_was() {
        let dir = tempfile::tempdir().expect("a directory");
        tracefs(dir.path());
        fs::write(
            dir.path().join("events/shadowmm/mm_fault_page/enable"),
            "1\n",
        )
        .expect("a file");
        let (listening, refused) = Listening::begin(dir.path(), &["mm_fault_"]).expect("events");
        assert!(refused.is_some());
        assert_eq!(enabled(dir.path(), "mm_fault_vma"), "1");
        assert_eq!(enabled(dir.path(), "mm_page_alloc"), "0");
        drop(listening);
        assert_eq!(enabled(dir.path(), "mm_fault_vma"), "0");
        assert_eq!(enabled(dir.path(), "mm_fault_page"), "1");
    }

    #[test]
    fn an_instance_that_can_not_be_used_is_not_left() {
        let dir = tempfile::tempdir().expect("a directory");
        tracefs(dir.path());
        let instances = dir.path().join("instances");
        fs::create_dir(&instances).expect("a directory");
        // There is no trace_pipe in it.
        assert!(Listening::begin(dir.path(), &["mm_fault_"]).is_err());
        assert_eq!(fs::read_dir(&instances).expect("a directory").count(), 0);
        assert_eq!(enabled(dir.path(), "mm_fault_vma"), "0");
    }

    #[test]
    fn events_are_found_by_their_names() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(events(dir.path(), &["mm_"]).is_err());
        tracefs(dir.path());
        let found = events(dir.path(), &["mm_fault_", "mm_page_"]).expect("events");
        assert_eq!(found.len(), 3);
    }
}
