// SPDX-License-Identifier: GPL-2.0

//! `shadowmm slab alloc`, `kmalloc` and `free`: objects are taken and given back.

use super::find;
use super::interact;
use crate::args;
use crate::context::Context;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::render::plural;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Device;
use shadowmm_client::Object;
use shadowmm_client::ObjectRequest;
use shadowmm_client::MAX_OBJECTS;
use std::thread;
use std::time::Duration;

/// Rows that are shown of many objects.
const ROWS: usize = 20;

/// How an object is asked for.
pub fn request(take: &args::Take) -> ObjectRequest {
    ObjectRequest {
        gfp: take.gfp,
        nid: take.node,
        zero: take.zero,
        asked: 0,
    }
}

/// Objects that were taken of a cache.
#[derive(Debug, Serialize)]
pub struct Taken {
    cache: u32,
    name: String,
    objects: Vec<TakenObject>,
    #[serde(skip)]
    end: String,
}

#[derive(Debug, Serialize)]
struct TakenObject {
    object: u64,
    nid: Option<i32>,
}

impl Taken {
    /// Takes so many, which the device keeps; or none.
    pub fn of(
        device: &Device,
        cache: u32,
        name: &str,
        request: &ObjectRequest,
        count: u32,
    ) -> Result<Self> {
        let mut objects = Vec::new();
        for number in 1..=count {
            let object = device.alloc_object(cache, request);
            objects.push(object.map_err(|error| nth(number, count, error))?);
        }
        // Nobody would be told of what was left before one could not be had.
        let told = objects.iter().map(|object| TakenObject {
            object: object.address(),
            nid: Some(object.nid()),
        });
        let told = told.collect();
        objects.into_iter().for_each(Object::leave);
        Ok(Self::new(cache, name, told))
    }

    /// Takes so many at once, or some thousands at a time.
    fn bulk(
        device: &Device,
        cache: u32,
        name: &str,
        request: &ObjectRequest,
        count: u32,
    ) -> Result<Self> {
        let mut objects = Vec::new();
        let mut left = count as usize;
        while left > 0 {
            let part = left.min(MAX_OBJECTS);
            let taken = device.alloc_objects(cache, request, part)?;
            objects.extend(
                taken
                    .into_iter()
                    .map(|object| TakenObject { object, nid: None }),
            );
            left -= part;
        }
        Ok(Self::new(cache, name, objects))
    }

    fn new(cache: u32, name: &str, objects: Vec<TakenObject>) -> Self {
        Self {
            cache,
            name: name.to_owned(),
            objects,
            end: String::new(),
        }
    }
}

/// An error that says of which of several objects it is.
fn nth(number: u32, count: u32, error: shadowmm_client::Error) -> Error {
    match number {
        1 => error.into(),
        _ => Error::of_one(&format!("object {number} of {count}"), error),
    }
}

fn node(nid: Option<i32>) -> String {
    nid.map_or("-".to_owned(), |nid| nid.to_string())
}

/// Shows the first objects, of each what stands between its address and its node;
/// how many were left out; and what becomes of them.
fn print<T>(
    screen: &mut Screen,
    between: [&'static str; 2],
    objects: &[T],
    row: impl Fn(&T) -> (u64, [String; 2], Option<i32>),
    end: &str,
) {
    let [first, second] = between;
    let mut table = Table::new(["object", first, second, "node"].map(Column::number));
    for object in objects.iter().take(ROWS) {
        let (address, [first, second], nid) = row(object);
        table.row([format!("{address:#x}"), first, second, node(nid)]);
    }
    table.print(screen);
    if let Some(rest @ 1..) = objects.len().checked_sub(ROWS) {
        screen.para(&format!("… and {rest} more: --json has them all."));
    }
    if !end.is_empty() {
        screen.blank();
        screen.para(end);
    }
}

impl Report for Taken {
    fn print(&self, screen: &mut Screen) {
        let place = |taken: &TakenObject| {
            let (page, within) = (
                taken.object / shadowmm_client::PAGE_SIZE,
                taken.object % shadowmm_client::PAGE_SIZE,
            );
            let place = [page, within].map(|number| number.to_string());
            (taken.object, place, taken.nid)
        };
        print(screen, ["page", "in it"], &self.objects, place, &self.end);
    }
}

/// Objects that were asked for by their size.
#[derive(Debug, Serialize)]
struct Sized {
    size: u64,
    objects: Vec<SizedObject>,
    #[serde(skip)]
    end: String,
}

/// One of them, also after it has got another size.
#[derive(Debug, Serialize)]
pub struct SizedObject {
    object: u64,
    usable_bytes: u64,
    nid: Option<i32>,
}

impl From<shadowmm_client::Kmalloced> for SizedObject {
    fn from(object: shadowmm_client::Kmalloced) -> Self {
        Self {
            object: object.object,
            usable_bytes: object.usable,
            nid: object.nid,
        }
    }
}

impl Report for SizedObject {
    fn print(&self, screen: &mut Screen) {
        screen.para(&match self.object {
            0 => "It is freed.".to_owned(),
            object => format!(
                "{object:#x} has {}, on node {}.",
                plural(self.usable_bytes, "byte"),
                node(self.nid)
            ),
        });
    }
}

impl Report for Sized {
    fn print(&self, screen: &mut Screen) {
        let sizes = |object: &SizedObject| {
            let sizes = [self.size, object.usable_bytes].map(|size| size.to_string());
            (object.object, sizes, object.nid)
        };
        print(
            screen,
            ["asked for", "has"],
            &self.objects,
            sizes,
            &self.end,
        );
    }
}

/// An object that was freed.
#[derive(Debug, Serialize)]
pub struct Freed {
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<u32>,
    object: u64,
    freed: bool,
}

impl Freed {
    /// Frees it, ours or not: the module judges.
    pub fn of(device: &Device, cache: u32, object: u64) -> Result<Self> {
        device.free_object(cache, object)?;
        Ok(Self {
            cache: Some(cache),
            object,
            freed: true,
        })
    }

    /// Frees what may be no object of the cache, for debugging to find out.
    pub fn forced(device: &Device, cache: u32, object: u64) -> Result<Self> {
        device.force_free_object(cache, object)?;
        Ok(Self {
            cache: Some(cache),
            object,
            freed: true,
        })
    }

    /// Frees an object of whatever cache.
    pub fn of_any(device: &Device, object: u64) -> Result<Self> {
        device.kfree(object)?;
        Ok(Self {
            cache: None,
            object,
            freed: true,
        })
    }
}

impl Report for Freed {
    fn print(&self, screen: &mut Screen) {
        screen.para(&format!("{:#x} is given back.", self.object));
    }
}

/// What becomes of them.
fn end(take: &args::Take, lines: &str) -> String {
    if take.interactive {
        format!("They are held until the end of stdin. Lines may be: {lines}.")
    } else if take.hold.is_some() {
        "They are held for the time named, or until this command is ended.".to_owned()
    } else {
        "They return now, with the end of this command; --hold SECS or --interactive keep them."
            .to_owned()
    }
}

/// Takes objects of a cache, shows them, and keeps them as long.
pub fn run(context: &Context, args: &args::SlabAlloc) -> Result<()> {
    let device = context.open()?;
    let cache = find(&device, &args.cache)?;
    let request = ObjectRequest {
        asked: args.asked.unwrap_or(0),
        ..request(&args.take)
    };
    let count = args.take.count;
    let mut report = if args.bulk {
        Taken::bulk(&device, cache, &args.cache, &request, count)?
    } else {
        Taken::of(&device, cache, &args.cache, &request, count)?
    };
    report.end = end(&args.take, interact::LINES);
    if args.take.interactive {
        context.show_line(&report)?;
        return interact::run(context, &device, cache, &args.cache, &request);
    }
    context.show(&report)?;
    thread::sleep(Duration::from_secs(args.take.hold.unwrap_or(0)));
    Ok(())
}

/// Takes objects by their size, shows them, and keeps them as long.
pub fn kmalloc(context: &Context, args: &args::Kmalloc) -> Result<()> {
    let device = context.open()?;
    let request = request(&args.take);
    let mut objects = Vec::new();
    for number in 1..=args.take.count {
        let object = device.kmalloc(args.size, &request);
        let object = object.map_err(|error| nth(number, args.take.count, error))?;
        objects.push(SizedObject::from(object));
    }
    let report = Sized {
        size: args.size,
        objects,
        end: end(&args.take, interact::SIZED_LINES),
    };
    if args.take.interactive {
        context.show_line(&report)?;
        return interact::run_sized(context, &device, &request);
    }
    context.show(&report)?;
    thread::sleep(Duration::from_secs(args.take.hold.unwrap_or(0)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn they_fit_and_their_keys_stay() {
        let objects = |count: u64| {
            let object = |n: u64| TakenObject {
                object: 0x123_4568 + n * 64,
                nid: Some(1),
            };
            (0..count).map(object).collect()
        };
        let mut taken = Taken::new(7, "inode_cache", objects(100));
        taken.end = "They return.".to_owned();
        testing::fits(&taken);
        testing::keys(&taken, "cache name objects objects[].object objects[].nid");
        assert!(testing::text(&taken, 80).contains("… and 80 more"));
        let sized = Sized {
            size: 100,
            objects: vec![SizedObject {
                object: 0x1000,
                usable_bytes: 128,
                nid: Some(0),
            }],
            end: "They return.".to_owned(),
        };
        testing::fits(&sized);
        testing::keys(
            &sized,
            "size objects objects[].object objects[].usable_bytes objects[].nid",
        );
        testing::fits(&SizedObject {
            object: 0,
            usable_bytes: 0,
            nid: None,
        });
        let freed = |cache| Freed {
            cache,
            object: 0x1000,
            freed: true,
        };
        testing::fits(&freed(None));
        testing::keys(&freed(Some(1)), "cache object freed");
        testing::keys(&freed(None), "object freed");
    }
}
