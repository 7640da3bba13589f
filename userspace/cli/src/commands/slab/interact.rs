// SPDX-License-Identifier: GPL-2.0

//! `shadowmm slab alloc --interactive` and `kmalloc --interactive`: do what the
//! lines of stdin say.

use super::alloc::Freed;
use super::alloc::SizedObject;
use super::alloc::Taken;
use crate::args;
use crate::commands::lines;
use crate::context::Context;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::render::plural;
use crate::render::Screen;
use serde::Serialize;
use shadowmm_client::Device;
use shadowmm_client::ObjectRequest;

/// What a line may be.
pub const LINES: &str = "alloc [COUNT], free OBJECT, read OBJECT, write OBJECT OFFSET BYTE..., \
     force free OBJECT [CACHE], force write OBJECT OFFSET BYTE..., quit";

/// What a line may be where objects have sizes.
pub const SIZED_LINES: &str =
    "realloc OBJECT SIZE, free OBJECT, size OBJECT, write OBJECT OFFSET BYTE..., quit";

/// What is in an object.
#[derive(Debug, Serialize)]
struct Content {
    object: u64,
    bytes: Vec<u8>,
}

impl Report for Content {
    fn print(&self, screen: &mut Screen) {
        // As many in a line as fit, a power of two.
        let room = screen.width().saturating_sub(6) / 3;
        let each = 1 << room.max(1).ilog2().min(4);
        for (number, bytes) in self.bytes.chunks(each).enumerate() {
            let text: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            screen.line(&format!("{:4}  {}", number * each, text.join(" ")));
        }
    }
}

/// Bytes that were written.
#[derive(Debug, Serialize)]
struct Written {
    object: u64,
    offset: i64,
    written: u64,
}

impl Written {
    fn of(object: u64, offset: i64, bytes: &[u8]) -> Self {
        Self {
            object,
            offset,
            written: bytes.len() as u64,
        }
    }
}

impl Report for Written {
    fn print(&self, screen: &mut Screen) {
        screen.para(&format!(
            "{} written to {:#x} from {} on.",
            plural(self.written, "byte"),
            self.object,
            self.offset
        ));
    }
}

/// How many bytes an object has.
#[derive(Debug, Serialize)]
struct Size {
    object: u64,
    usable_bytes: u64,
}

impl Report for Size {
    fn print(&self, screen: &mut Screen) {
        screen.para(&format!(
            "{:#x} has {}.",
            self.object,
            plural(self.usable_bytes, "byte")
        ));
    }
}

/// Does what the lines of stdin say with objects of a cache, until there are no
/// more. What the device holds then goes back with it.
pub fn run(
    context: &Context,
    device: &Device,
    cache: u32,
    name: &str,
    request: &ObjectRequest,
) -> Result<()> {
    lines::obey_stdin(context, |words| match *words {
        ["alloc"] => context.show_line(&Taken::of(device, cache, name, request, 1)?),
        ["alloc", count] => {
            let count = u32::try_from(number(count)?).unwrap_or(u32::MAX);
            context.show_line(&Taken::of(device, cache, name, request, count)?)
        }
        ["free", object] => context.show_line(&Freed::of(device, cache, number(object)?)?),
        ["read", object] => {
            let object = number(object)?;
            let size = device.caches()?.into_iter().find(|it| it.cache == cache);
            let mut bytes = vec![0; size.map_or(0, |it| it.object_size as usize)];
            device.read_object(object, 0, &mut bytes)?;
            context.show_line(&Content { object, bytes })
        }
        ["write", ref place @ ..] => {
            let (object, offset, bytes) = bytes_to_write(words, place, LINES)?;
            device.write_object(object, offset, &bytes)?;
            context.show_line(&Written::of(object, offset, &bytes))
        }
        ["force", "write", ref place @ ..] => {
            let (object, offset, bytes) = bytes_to_write(words, place, LINES)?;
            device.force_write_object(cache, object, offset, &bytes)?;
            context.show_line(&Written::of(object, offset, &bytes))
        }
        ["force", "free", object] => {
            context.show_line(&Freed::forced(device, cache, number(object)?)?)
        }
        ["force", "free", object, of] => {
            let cache = super::find(device, of)?;
            context.show_line(&Freed::forced(device, cache, number(object)?)?)
        }
        _ => Err(lines::unknown(words, LINES)),
    })
}

/// What a line says is to be written: to which object, from where on, and what.
fn bytes_to_write(words: &[&str], place: &[&str], usage: &str) -> Result<(u64, i64, Vec<u8>)> {
    let [object, offset, bytes @ ..] = place else {
        return Err(lines::unknown(words, usage));
    };
    if bytes.is_empty() {
        return Err(lines::unknown(words, usage));
    }
    let offset = match offset.strip_prefix('-') {
        Some(back) => i64::try_from(number(back)?)
            .unwrap_or(i64::MAX)
            .wrapping_neg(),
        None => i64::try_from(number(offset)?).unwrap_or(i64::MAX),
    };
    let bytes = bytes.iter().map(|text| byte(text)).collect::<Result<_>>()?;
    Ok((number(object)?, offset, bytes))
}

/// The same with objects that have sizes.
pub fn run_sized(context: &Context, device: &Device, request: &ObjectRequest) -> Result<()> {
    lines::obey_stdin(context, |words| match *words {
        ["realloc", object, size] => {
            let object = Some(number(object)?).filter(|&object| object != 0);
            let object = device.krealloc(object, number(size)?, request)?;
            context.show_line(&SizedObject::from(object))
        }
        ["free", object] => context.show_line(&Freed::of_any(device, number(object)?)?),
        ["size", object] => {
            let object = number(object)?;
            let usable_bytes = device.ksize(object)?;
            context.show_line(&Size {
                object,
                usable_bytes,
            })
        }
        ["write", ref place @ ..] => {
            let (object, offset, bytes) = bytes_to_write(words, place, SIZED_LINES)?;
            device.write_object(object, offset, &bytes)?;
            context.show_line(&Written::of(object, offset, &bytes))
        }
        _ => Err(lines::unknown(words, SIZED_LINES)),
    })
}

fn number(text: &str) -> Result<u64> {
    args::address(text).map_err(|_| {
        Error::failed(format!(
            "{text:?}: a number is decimal, or hexadecimal with 0x"
        ))
    })
}

fn byte(text: &str) -> Result<u8> {
    let byte = number(text)?;
    u8::try_from(byte).map_err(|_| Error::failed(format!("{text:?}: a byte is at most 255")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn they_fit_and_their_keys_stay() {
        let content = Content {
            object: 0x1000,
            bytes: (0..=255).collect(),
        };
        testing::fits(&content);
        testing::keys(&content, "object bytes");
        assert!(testing::text(&content, 80).starts_with("   0  00 01 02"));
        let written = Written {
            object: 0x1000,
            offset: -8,
            written: 8,
        };
        testing::fits(&written);
        testing::keys(&written, "object offset written");
        let size = Size {
            object: 0x1000,
            usable_bytes: 128,
        };
        testing::fits(&size);
        testing::keys(&size, "object usable_bytes");
    }

    #[test]
    fn numbers_and_bytes_are_read() {
        assert_eq!(number("0x10").ok(), Some(16));
        assert_eq!(byte("255").ok(), Some(255));
        assert!(byte("256").is_err());
        assert!(number("ten").is_err());
    }
}
