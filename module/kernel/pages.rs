// SPDX-License-Identifier: GPL-2.0

//! Requests for many pages and about held blocks: BULK, EXACT, CONTIG, BLOCK,
//! POLICY.
//!
//! Each is checked whole, then gets the memory for its own bookkeeping, and
//! only then takes the file's lock and changes something.

use crate::abi;
use crate::device::OpenFile;
use crate::held::Held;
use crate::held::Room;
use crate::records;
use crate::shadow::Placed;
use crate::uapi;
use crate::users::check_admin;
use kernel::prelude::*;
use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::AllocRequest;
use shadowmm_core::buddy::Policy;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::nodemask::NodeMask;
use shadowmm_core::phys::Bytes;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pages;
use shadowmm_core::phys::Pfn;
use shadowmm_core::quota::Kind;

/// What is given back needs neither flags nor node.
fn check_unused(gfp: u32, nid: i32) -> CoreResult<()> {
    match (gfp, nid) {
        (0, 0) => Ok(()),
        _ => Err(Error::BadReserved),
    }
}

impl OpenFile {
    /// Gives back what has just been taken, block by block, of the pages from `pfn` on. What
    /// another thread has freed meanwhile is nobody's.
    fn undo_pages(&self, pfn: Pfn, pages: u64) {
        let mut held = self.held.lock();
        for i in 0..pages {
            self.put_one(&mut held, pfn + Pages(i));
        }
    }

    /// BULK. What it has taken is told for [`OpenFile::undo_bulk`].
    pub(crate) fn bulk(&self, request: &mut uapi::shadowmm_bulk) -> CoreResult<KVVec<Pfn>> {
        match request.count {
            0 => return Err(Error::NoPages),
            1..=uapi::SHADOWMM_MAX_BULK => {}
            _ => return Err(Error::TooManyPages),
        }
        let (taken, done, stopped) = match request.op {
            uapi::SHADOWMM_PAGES_ALLOC => {
                let wanted = records::wanted(request.gfp, 0, request.nid)?;
                let (taken, stopped) =
                    self.bulk_alloc(&wanted, request.pfns, request.count as usize)?;
                let done = taken.len();
                (taken, done, stopped)
            }
            uapi::SHADOWMM_PAGES_FREE => {
                check_unused(request.gfp, request.nid)?;
                let (done, stopped) = self.bulk_free(request.pfns, request.count)?;
                (KVVec::new(), done, stopped)
            }
            _ => return Err(Error::BadKind),
        };
        request.done = done as u32;
        request.stopped = stopped.map_or(0, Error::code);
        Ok(taken)
    }

    /// Without their numbers the pages are of no use to anybody.
    pub(crate) fn undo_bulk(&self, taken: &[Pfn]) {
        self.free_singles(taken);
    }

    fn bulk_alloc(
        &self,
        wanted: &AllocRequest,
        pfns: u64,
        count: usize,
    ) -> CoreResult<(KVVec<Pfn>, Option<Error>)> {
        let pages = KVVec::from_elem(Pfn(0), count, GFP_KERNEL);
        let mut pages = pages.map_err(|_| Error::NoHostMemory)?;
        let mut room = Room::new(count)?;
        // Where the answer can't be written, nothing may have been done.
        abi::write_numbers(pfns, count, pages.iter().map(|pfn| pfn.0))?;
        let charge = self.account.charge(Kind::Pages, count as u64)?;
        let placed = self.placed(*wanted);
        let taken = {
            let mut held = self.held.lock();
            let taken = self.shadow.alloc_bulk(&placed, &mut pages)?;
            charge.keep(taken as u64);
            for &pfn in pages.iter().take(taken) {
                room.enter(&mut held, pfn, PageOrder::ZERO);
            }
            taken
        };
        pages.truncate(taken);
        let numbers = pages.iter().map(|pfn| pfn.0);
        // The memory was there a moment ago, and the caller has let go of it.
        abi::write_numbers(pfns, taken, numbers).inspect_err(|_| self.undo_bulk(&pages))?;
        let stopped = (taken < count).then_some(Error::NoMemory);
        Ok((pages, stopped))
    }

    fn bulk_free(&self, pfns: u64, count: u32) -> CoreResult<(usize, Option<Error>)> {
        let mut pages = KVVec::new();
        abi::read_array(pfns, count, |pfn: u64| {
            let pushed = pages.push(Pfn(pfn), GFP_KERNEL);
            pushed.map_err(|_| Error::NoHostMemory)
        })?;
        match self.free_singles(&pages) {
            (0, Some(error)) => Err(error),
            answer => Ok(answer),
        }
    }

    /// Gives up one reference to each of these single pages, up to the first
    /// that can't be: how many, and why no more.
    fn free_singles(&self, pages: &[Pfn]) -> (usize, Option<Error>) {
        let mut held = self.held.lock();
        let (mut done, mut gone) = (0, 0);
        for pfn in pages {
            let Some(holding) = held.get_mut(pfn) else {
                break;
            };
            if holding.order != PageOrder::ZERO {
                break;
            }
            holding.references -= 1;
            if holding.references == 0 {
                held.remove(pfn);
                gone += 1;
            }
            done += 1;
        }
        self.account.release(Kind::Pages, gone);
        let (taken, left) = pages.split_at_checked(done).unwrap_or((pages, &[]));
        self.shadow.free_bulk(taken);
        let stopped = left.first().map(|&pfn| match held.get(&pfn) {
            Some(_) => Error::WrongOrder,
            None => self.shadow.why_not_ours(pfn, PageOrder::ZERO),
        });
        (done, stopped)
    }

    /// EXACT.
    pub(crate) fn exact(&self, request: &mut uapi::shadowmm_exact) -> CoreResult<()> {
        let pages = match request.bytes {
            0 => return Err(Error::NoPages),
            bytes => Bytes(bytes).pages_up(),
        };
        if pages > PageOrder::MAX.pages() {
            return Err(Error::OrderTooLarge);
        }
        match request.op {
            uapi::SHADOWMM_PAGES_ALLOC => {
                let wanted = records::wanted(request.gfp, 0, request.nid)?;
                let charge = self.account.charge(Kind::Pages, pages.0)?;
                let mut room = Room::new(pages.0 as usize)?;
                let placed = self.placed(wanted);
                let mut held = self.held.lock();
                let block = self.shadow.alloc_exact(&placed, pages)?;
                charge.keep(pages.0);
                for i in 0..pages.0 {
                    room.enter(&mut held, block.pfn + Pages(i), PageOrder::ZERO);
                }
                request.pfn = block.pfn.0;
                request.page_nid = block.nid.0;
                request.page_zone = block.zone as u32;
                Ok(())
            }
            uapi::SHADOWMM_PAGES_FREE => {
                check_unused(request.gfp, request.nid)?;
                self.exact_free(Pfn(request.pfn), pages)
            }
            _ => Err(Error::BadKind),
        }
    }

    /// Gives back what EXACT has just taken.
    pub(crate) fn undo_exact(&self, request: &uapi::shadowmm_exact) {
        if request.op == uapi::SHADOWMM_PAGES_ALLOC {
            self.undo_pages(Pfn(request.pfn), Bytes(request.bytes).pages_up().0);
        }
    }

    fn exact_free(&self, pfn: Pfn, pages: Pages) -> CoreResult<()> {
        let mut held = self.held.lock();
        for i in 0..pages.0 {
            // A number from outside may be near the end of all numbers.
            let pfn = Pfn(pfn.0.checked_add(i).ok_or(Error::ForeignPfn)?);
            self.check_single(&held, pfn)?;
        }
        for i in 0..pages.0 {
            self.put_one(&mut held, pfn + Pages(i));
        }
        Ok(())
    }

    /// CONTIG.
    pub(crate) fn contig(&self, request: &mut uapi::shadowmm_contig) -> CoreResult<()> {
        match request.pages {
            0 => return Err(Error::NoPages),
            pages if pages > u64::from(uapi::SHADOWMM_MAX_CONTIG) => {
                return Err(Error::TooManyPages);
            }
            _ => {}
        }
        let pages = Pages(request.pages);
        let (at, nid) = match request.op {
            uapi::SHADOWMM_CONTIG_ALLOC => (None, request.nid),
            uapi::SHADOWMM_CONTIG_RANGE => {
                check_unused(0, request.nid)?;
                (Some(Pfn(request.pfn)), -1)
            }
            uapi::SHADOWMM_CONTIG_FREE => {
                check_unused(request.gfp, request.nid)?;
                return self.contig_free(Pfn(request.pfn), pages);
            }
            _ => return Err(Error::BadKind),
        };
        check_admin()?;
        let wanted = records::wanted(request.gfp, 0, nid)?;
        let (order, count) = if wanted.gfp().has(gfp::__GFP_COMP) {
            let order = pages.order_up().filter(|order| order.pages() == pages);
            (order.ok_or(Error::OrderTooLarge)?, 1)
        } else {
            (PageOrder::ZERO, pages.0)
        };
        let charge = self.account.charge(Kind::Pages, pages.0)?;
        let mut room = Room::new(count as usize)?;
        let placed = self.placed(wanted);
        let mut held = self.held.lock();
        let block = self.shadow.alloc_contig(&placed, pages, at)?;
        charge.keep(pages.0);
        for i in 0..count {
            room.enter(&mut held, block.pfn + Pages(i), order);
        }
        request.pfn = block.pfn.0;
        request.page_nid = block.nid.0;
        request.page_zone = block.zone as u32;
        Ok(())
    }

    /// Gives back what CONTIG has just taken: single pages, or one block.
    pub(crate) fn undo_contig(&self, request: &uapi::shadowmm_contig) {
        if request.op != uapi::SHADOWMM_CONTIG_FREE {
            self.undo_pages(Pfn(request.pfn), request.pages);
        }
    }

    /// All of them or none, as neighbours.
    fn contig_free(&self, start: Pfn, pages: Pages) -> CoreResult<()> {
        let end = start.0.checked_add(pages.0).ok_or(Error::ForeignPfn)?;
        let mut all =
            KVVec::with_capacity(pages.0 as usize, GFP_KERNEL).map_err(|_| Error::NoHostMemory)?;
        for pfn in start.0..end {
            let pushed = all.push(Pfn(pfn), GFP_KERNEL);
            pushed.map_err(|_| Error::NoHostMemory)?;
        }
        {
            let held = self.held.lock();
            for &pfn in &all {
                self.check_single(&held, pfn)?;
            }
        }
        // If another thread frees one of them meanwhile, the rest stays.
        match self.free_singles(&all) {
            (_, Some(error)) => Err(error),
            (_, None) => Ok(()),
        }
    }

    /// Whether the file holds this page, and as a single one.
    fn check_single(&self, held: &Held, pfn: Pfn) -> CoreResult<()> {
        match held.get(&pfn) {
            None => Err(self.shadow.why_not_ours(pfn, PageOrder::ZERO)),
            Some(holding) if holding.order != PageOrder::ZERO => Err(Error::WrongOrder),
            Some(_) => Ok(()),
        }
    }

    /// BLOCK.
    pub(crate) fn block(&self, request: &mut uapi::shadowmm_block) -> CoreResult<()> {
        let pfn = Pfn(request.pfn);
        let order = PageOrder::new(request.order).ok_or(Error::OrderTooLarge)?;
        let to = PageOrder::new(request.to).ok_or(Error::OrderTooLarge)?;
        if request.op != uapi::SHADOWMM_BLOCK_SPLIT && to != PageOrder::ZERO {
            return Err(Error::BadReserved);
        }
        match request.op {
            uapi::SHADOWMM_BLOCK_SPLIT => request.count = self.split(pfn, order, to)?,
            uapi::SHADOWMM_BLOCK_MERGE => request.count = self.merge(pfn, order)?,
            uapi::SHADOWMM_BLOCK_GET | uapi::SHADOWMM_BLOCK_PUT if order != PageOrder::ZERO => {
                return Err(Error::BadReserved);
            }
            uapi::SHADOWMM_BLOCK_GET => {
                let (order, count) = self.get(pfn)?;
                request.order = order.get().into();
                request.count = count;
            }
            uapi::SHADOWMM_BLOCK_PUT => {
                let mut held = self.held.lock();
                let Some(&holding) = held.get(&pfn) else {
                    return Err(self.shadow.why_not_held(pfn));
                };
                request.order = holding.order.get().into();
                request.count = self.put_one(&mut held, pfn);
            }
            _ => return Err(Error::BadKind),
        }
        Ok(())
    }

    /// Gives up the reference that BLOCK has just taken.
    pub(crate) fn undo_block(&self, request: &uapi::shadowmm_block) {
        if request.op == uapi::SHADOWMM_BLOCK_GET {
            self.undo_pages(Pfn(request.pfn), 1);
        }
    }

    fn split(&self, pfn: Pfn, order: PageOrder, to: PageOrder) -> CoreResult<u32> {
        if to >= order {
            return Err(Error::BadPieces);
        }
        let count = 1u32 << (order.get() - to.get());
        let mut room = Room::new(count as usize - 1)?;
        let mut held = self.held.lock();
        match held.get_mut(&pfn) {
            None => return Err(self.shadow.why_not_ours(pfn, order)),
            Some(holding) if holding.order != order => return Err(Error::WrongOrder),
            Some(holding) => {
                self.shadow.split(pfn, order, to)?;
                holding.order = to;
            }
        }
        for i in 1..count {
            let pfn = pfn + Pages(u64::from(i) << to.get());
            room.enter(&mut held, pfn, to);
        }
        Ok(count)
    }

    fn merge(&self, pfn: Pfn, order: PageOrder) -> CoreResult<u32> {
        if order == PageOrder::ZERO || !pfn.is_aligned(order) {
            return Err(Error::BadPieces);
        }
        let mut held = self.held.lock();
        let mut done = Pages::ZERO;
        let mut count = 0;
        while done < order.pages() {
            let at = Pfn(pfn.0.checked_add(done.0).ok_or(Error::ForeignPfn)?);
            let holding = held.get(&at).ok_or_else(|| self.shadow.why_not_held(at))?;
            done += holding.order.pages();
            count += 1;
        }
        self.shadow.merge(pfn, order)?;
        // The first block's entry becomes that of the whole.
        let mut done = held.get(&pfn).map_or(Pages(1), |part| part.order.pages());
        while done < order.pages() {
            let part = held.remove(&(pfn + done));
            done += part.map_or(Pages(1), |part| part.order.pages());
        }
        if let Some(whole) = held.get_mut(&pfn) {
            whole.order = order;
        }
        Ok(count)
    }

    fn get(&self, pfn: Pfn) -> CoreResult<(PageOrder, u32)> {
        let mut room = Room::new(1)?;
        let mut held = self.held.lock();
        if let Some(holding) = held.get_mut(&pfn) {
            holding.check_one_more()?;
            let count = self.shadow.get_again(pfn)?;
            holding.references += 1;
            return Ok((holding.order, count));
        }
        let (order, count) = self.shadow.get_of_others(pfn)?;
        // How large it is is known now.
        if let Err(error) = self.account.reserve(Kind::Pages, order.pages().0) {
            self.shadow.free(pfn, order);
            return Err(error);
        }
        room.enter(&mut held, pfn, order);
        Ok((order, count))
    }

    /// POLICY.
    pub(crate) fn policy(&self, request: &mut uapi::shadowmm_policy) -> CoreResult<()> {
        match request.op {
            uapi::SHADOWMM_POLICY_GET => {
                let (mode, nodes) = match *self.policy.lock() {
                    Policy::Local => (uapi::SHADOWMM_POLICY_LOCAL, NodeMask::NONE),
                    Policy::Preferred(nid) => {
                        (uapi::SHADOWMM_POLICY_PREFERRED, [nid].into_iter().collect())
                    }
                    Policy::Bind(nodes) => (uapi::SHADOWMM_POLICY_BIND, nodes),
                    Policy::Interleave(nodes) => (uapi::SHADOWMM_POLICY_INTERLEAVE, nodes),
                };
                request.mode = mode;
                request.nodes = nodes.bits();
                Ok(())
            }
            uapi::SHADOWMM_POLICY_SET => {
                let policy =
                    self.wanted_policy(request.mode, NodeMask::from_bits(request.nodes))?;
                *self.policy.lock() = policy;
                Ok(())
            }
            _ => Err(Error::BadKind),
        }
    }

    fn wanted_policy(&self, mode: u32, nodes: NodeMask) -> CoreResult<Policy> {
        let policy = match (mode, nodes.first()) {
            (uapi::SHADOWMM_POLICY_LOCAL, None) => return Ok(Policy::Local),
            (uapi::SHADOWMM_POLICY_PREFERRED, Some(nid)) => Policy::Preferred(nid),
            (uapi::SHADOWMM_POLICY_BIND, Some(_)) => Policy::Bind(nodes),
            (uapi::SHADOWMM_POLICY_INTERLEAVE, Some(_)) => Policy::Interleave(nodes),
            (uapi::SHADOWMM_POLICY_LOCAL..=uapi::SHADOWMM_POLICY_INTERLEAVE, _) => {
                return Err(Error::BadPolicy);
            }
            _ => return Err(Error::BadKind),
        };
        let online = self.shadow.with_mm(|mm| {
            let online = mm.nodes.online().map(|node| node.node_id);
            Ok(online.collect::<NodeMask>())
        })?;
        if nodes.is_subset(online) {
            Ok(policy)
        } else {
            Err(Error::NodeOffline)
        }
    }

    /// A request with the file's policy, which is heard where it names no node.
    pub(crate) fn placed(&self, request: AllocRequest) -> Placed<'_> {
        Placed {
            request,
            policy: *self.policy.lock(),
            prev: &self.interleave,
        }
    }

    /// Gives up one of the file's references to a block that it holds; how many
    /// there are then.
    pub(crate) fn put_one(&self, held: &mut Held, pfn: Pfn) -> u32 {
        let Some(holding) = held.get_mut(&pfn) else {
            return 0;
        };
        let order = holding.order;
        holding.references -= 1;
        if holding.references == 0 {
            held.remove(&pfn);
            self.account.release(Kind::Pages, order.pages().0);
        }
        self.shadow.free(pfn, order)
    }
}
