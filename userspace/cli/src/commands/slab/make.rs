// SPDX-License-Identifier: GPL-2.0

//! `shadowmm slab create`, `shrink`, `validate`, `destroy`.

use super::find;
use super::CacheDetails;
use crate::args;
use crate::context::Context;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::render::count;
use crate::render::plural;
use crate::render::Screen;
use serde::Serialize;
use shadowmm_client::CacheArgs;
use shadowmm_client::Created;
use shadowmm_client::Reason;

/// A cache that was made, or has another name now.
#[derive(Debug, Serialize)]
struct CreateReport {
    #[serde(flatten)]
    created: Created,
    name: String,
    geometry: CacheDetails,
}

impl Report for CreateReport {
    fn print(&self, screen: &mut Screen) {
        let cache = self.geometry.cache();
        if self.created.aliases > 0 && cache.name != self.name {
            screen.para(&format!(
                "{} is another name of {} now: its objects of {} bytes do as well.",
                self.name, cache.name, cache.size
            ));
        } else {
            screen.para(&format!("{} is a cache now.", self.name));
        }
        screen.blank();
        self.geometry.object(screen);
    }
}

/// Makes a cache.
pub fn create(context: &Context, args: &args::Create) -> Result<()> {
    let device = context.open()?;
    let created = device.create_cache(&CacheArgs {
        name: args.name.clone(),
        object_size: args.size,
        align: args.align,
        flags: args.flags.unwrap_or(0) | args.debug.unwrap_or(0),
        constructor: args.ctor.unwrap_or_default(),
        useroffset: args.usercopy.map_or(0, |(offset, _)| offset),
        usersize: args.usercopy.map_or(0, |(_, bytes)| bytes),
        freeptr_offset: args.freeptr,
        sheaf_capacity: args.sheaf,
    })?;
    context.show(&CreateReport {
        created,
        name: args.name.clone(),
        geometry: CacheDetails::of(&device, created.cache)?,
    })
}

#[derive(Debug, Serialize)]
struct Shrunk {
    freed_pages: u64,
}

impl Report for Shrunk {
    fn print(&self, screen: &mut Screen) {
        screen.para(&match self.freed_pages {
            0 => "No slab was without an object in use.".to_owned(),
            1 => "1 page went back.".to_owned(),
            pages => format!("{} pages went back.", count(pages)),
        });
    }
}

/// Shrinks a cache, or all.
pub fn shrink(context: &Context, name: Option<&str>) -> Result<()> {
    let device = context.open()?;
    let cache = name.map(|name| find(&device, name)).transpose()?;
    let freed_pages = device.shrink_cache(cache)?;
    context.show(&Shrunk { freed_pages })
}

#[derive(Debug, Serialize)]
struct Validated {
    ok: bool,
    violated: Option<String>,
}

impl Report for Validated {
    fn print(&self, screen: &mut Screen) {
        match &self.violated {
            None => screen.para("All is in order."),
            Some(what) => what.lines().for_each(|line| screen.para(line)),
        }
    }
}

/// Checks a cache.
pub fn validate(context: &Context, name: &str) -> Result<()> {
    let device = context.open()?;
    let violated = device.validate_cache(find(&device, name)?)?;
    let ok = violated.is_none();
    context.show(&Validated { ok, violated })?;
    if ok {
        Ok(())
    } else {
        Err(Error::failed(format!("the cache {name} is damaged")))
    }
}

/// What became of a cache that was to be destroyed.
#[derive(Debug, Serialize)]
struct Destroyed {
    name: String,
    destroyed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alive: Option<String>,
}

impl Report for Destroyed {
    fn print(&self, screen: &mut Screen) {
        match &self.alive {
            None => screen.para(&format!("{} is gone.", self.name)),
            Some(alive) => alive.lines().for_each(|line| screen.para(line)),
        }
    }
}

/// Destroys a cache, or takes it one of its names.
pub fn destroy(context: &Context, name: &str) -> Result<()> {
    let device = context.open()?;
    let cache = find(&device, name)?;
    let held = device.slab_layer()?.held_objects;
    let mut report = Destroyed {
        name: name.to_owned(),
        destroyed: true,
        error: None,
        alive: None,
    };
    let Err(refused) = device.destroy_cache(cache) else {
        return context.show(&report);
    };
    let busy = refused.error.reason() == Some(Reason::CacheBusy);
    if busy {
        report.destroyed = false;
        report.error = refused.error.reason().map(Reason::name);
        report.alive = Some(refused.alive);
        context.show(&report)?;
    }
    let error = Error::from(refused.error);
    Err(if busy {
        error.with_advice(format!(
            "objects return when the processes end that hold them; open files hold {} in all",
            plural(held, "object")
        ))
    } else {
        error
    })
}

#[cfg(test)]
mod tests {
    use super::super::show::tests::sample;
    use super::*;
    use crate::testing;

    #[test]
    fn they_fit_and_say_what_has_become() {
        let report = |aliases, name: &str| CreateReport {
            created: Created { cache: 7, aliases },
            name: name.to_owned(),
            geometry: sample(3),
        };
        testing::fits(&report(1, "ext4_inode"));
        let text = testing::text(&report(1, "ext4_inode"), 100);
        assert!(
            text.contains("ext4_inode is another name of inode_cache"),
            "{text}"
        );
        let text = testing::text(&report(0, "inode_cache"), 100);
        assert!(text.contains("inode_cache is a cache now"), "{text}");

        let alive = Destroyed {
            name: "inode_cache".to_owned(),
            destroyed: false,
            error: Some(Reason::CacheBusy.name()),
            alive: Some("Object 0x0000000000123000 @offset=0".to_owned()),
        };
        testing::fits(&alive);
        testing::keys(&alive, "name destroyed error alive");
        let gone = Destroyed {
            destroyed: true,
            error: None,
            alive: None,
            ..alive
        };
        testing::keys(&gone, "name destroyed");
        testing::fits(&gone);
        for freed_pages in [0, 1, 12_345] {
            testing::fits(&Shrunk { freed_pages });
        }
        let violated = Some("a free pointer leads nowhere".to_owned());
        testing::fits(&Validated {
            ok: false,
            violated,
        });
    }
}
