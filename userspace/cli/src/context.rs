// SPDX-License-Identifier: GPL-2.0

//! What every command is given: where to ask, and how to answer.

use crate::error::Error;
use crate::error::Result;
use crate::render::Live;
use crate::render::Look;
use crate::render::Screen;
use serde::Serialize;
use shadowmm_client::Device;
use std::io;
use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// A report: one model, as text and as JSON.
pub trait Report: Serialize {
    /// Puts it on the screen.
    fn print(&self, screen: &mut Screen);
}

/// Where to ask, and how to answer.
#[derive(Debug)]
pub struct Context {
    /// The device's path.
    pub device: PathBuf,
    /// What `/proc` and `/sys` lie below.
    pub root: PathBuf,
    /// JSON in the place of text.
    pub json: bool,
    /// How text looks.
    pub look: Look,
}

impl Context {
    /// Opens the device.
    pub fn open(&self) -> Result<Device> {
        Ok(Device::open(&self.device)?)
    }

    /// An empty screen.
    pub fn screen(&self) -> Screen {
        Screen::new(self.look)
    }

    /// Writes a report, as JSON or as text.
    pub fn show(&self, report: &impl Report) -> Result<()> {
        if self.json {
            self.write(&json(report, true)?)
        } else {
            let mut screen = self.screen();
            report.print(&mut screen);
            self.write(screen.text())
        }
    }

    /// Writes a report of many: JSON on one line each, or text.
    pub fn show_line(&self, report: &impl Report) -> Result<()> {
        if self.json {
            self.write(&json(report, false)?)
        } else {
            self.show(report)
        }
    }

    /// Shows a report again every so many seconds, `count` times or for ever. A
    /// terminal has it always in the same place.
    pub fn watch<R: Report>(
        &self,
        seconds: u64,
        count: Option<u64>,
        read: impl Fn() -> Result<R>,
    ) -> Result<()> {
        let mut looks = 0;
        loop {
            let report = read()?;
            match Live::of_stdout() {
                Some(live) if !self.json => {
                    // It may have another width than at first.
                    let mut screen = Screen::new(Look::of_stdout());
                    report.print(&mut screen);
                    self.write(&live.frame(&screen))?;
                }
                _ => {
                    if looks > 0 && !self.json {
                        self.write("\n")?;
                    }
                    self.show_line(&report)?;
                }
            }
            looks += 1;
            if count == Some(looks) {
                return Ok(());
            }
            thread::sleep(Duration::from_secs(seconds));
        }
    }

    /// Writes text, at once.
    pub fn write(&self, text: &str) -> Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        Ok(stdout.flush()?)
    }
}

/// A report as JSON, with a line's end.
pub fn json(report: &impl Serialize, pretty: bool) -> Result<String> {
    let text = if pretty {
        serde_json::to_string_pretty(report)
    } else {
        serde_json::to_string(report)
    };
    let mut text = text.map_err(|error| Error::failed(format!("could not write JSON: {error}")))?;
    text.push('\n');
    Ok(text)
}
