//! One record of the log: what it did to which relations.

use crate::error::{Error, Result};

/// What a record did to one relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The object id of the database.
    pub(crate) database: u32,
    /// The relation's file, by its number; 0 where the record speaks of no single one.
    pub(crate) filenode: u32,
    /// The page of it, where rows are concerned.
    pub(crate) page: u32,
    pub(crate) effect: Effect,
}

/// What a change means for what a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing: a lock, a clean-up, an index that follows its table.
    None,
    /// Rows came.
    Adds,
    /// Rows went, or were replaced.
    Removes,
    /// A sequence was moved.
    Counts,
    /// Anything else.
    Other,
}

/// Bytes of a record's head.
pub(super) const HEAD: usize = 24;

/// Numbers of the resource managers, `access/rmgrlist.h`: new ones are added at the end.
mod manager {
    pub(super) const XLOG: u8 = 0;
    pub(super) const XACT: u8 = 1;
    pub(super) const SMGR: u8 = 2;
    pub(super) const CLOG: u8 = 3;
    pub(super) const DBASE: u8 = 4;
    pub(super) const TBLSPC: u8 = 5;
    pub(super) const MULTIXACT: u8 = 6;
    pub(super) const RELMAP: u8 = 7;
    pub(super) const STANDBY: u8 = 8;
    pub(super) const HEAP2: u8 = 9;
    pub(super) const HEAP: u8 = 10;
    pub(super) const BTREE: u8 = 11;
    pub(super) const HASH: u8 = 12;
    pub(super) const GIN: u8 = 13;
    pub(super) const GIST: u8 = 14;
    pub(super) const SEQ: u8 = 15;
    pub(super) const SPGIST: u8 = 16;
    pub(super) const BRIN: u8 = 17;
    pub(super) const COMMIT_TS: u8 = 18;
    pub(super) const REPLORIGIN: u8 = 19;
    pub(super) const LOGICALMSG: u8 = 21;
}

const XLOG_SWITCH: u8 = 0x40;
const XLOG_FPI_FOR_HINT: u8 = 0xA0;

/// A whole record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    manager: u8,
    /// The operation, within the manager.
    operation: u8,
    /// Everything behind the head.
    body: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record in `bytes`, which are as many as its head says.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Record<'a>> {
        let mut head = Bytes(bytes);
        head.take(16)?;
        let operation = head.u8()? & 0xF0;
        let manager = head.u8()?;
        head.take(6)?;
        Ok(Record { manager, operation, body: head.0 })
    }

    /// Whether the rest of its segment is empty.
    pub(super) fn ends_segment(&self) -> bool {
        self.manager == manager::XLOG && self.operation == XLOG_SWITCH
    }

    /// What it did, relation by relation.
    pub(super) fn changes(&self, mut visit: impl FnMut(Change)) -> Result<()> {
        use manager::*;
        let (blocks, main) = self.blocks()?;
        let whole = |database| Change { database, filenode: 0, page: 0, effect: Effect::Other };
        let mut main = Bytes(main);
        match self.manager {
            XACT | CLOG | DBASE | TBLSPC | MULTIXACT | STANDBY | COMMIT_TS | REPLORIGIN | LOGICALMSG => {
                return Ok(());
            }
            RELMAP => visit(whole(main.u32()?)),
            // A file comes (its tablespace, its database, …), or is cut (as before, behind the new length).
            SMGR if self.operation == 0x10 => visit(whole({
                main.take(4)?;
                main.u32()?
            })),
            SMGR => visit(whole({
                main.take(8)?;
                main.u32()?
            })),
            HEAP if self.operation & 0x70 == 0x30 => visit(whole(main.u32()?)),
            _ => {}
        }
        for block in blocks {
            // Other forks say nothing of rows. Shared relations belong to no database.
            if block.fork == 0 && block.database != 0 {
                let effect = self.effect(block.number);
                visit(Change {
                    database: block.database,
                    filenode: block.filenode,
                    page: block.page,
                    effect,
                });
            }
        }
        Ok(())
    }

    fn effect(&self, block: u8) -> Effect {
        use manager::*;
        match (self.manager, self.operation & 0x70) {
            // Insert, and the confirmation of one that was speculative.
            (HEAP, 0x00 | 0x50) => Effect::Adds,
            (HEAP, 0x10) => Effect::Removes,
            // Update, and one within its page: the page of the new version comes first.
            (HEAP, 0x20 | 0x40) if block == 0 => Effect::Removes,
            (HEAP, 0x20 | 0x40 | 0x60) => Effect::None,
            (HEAP2, 0x50) => Effect::Adds,
            // Clean-up, vacuum, freezing, visibility, locks of row versions.
            (HEAP2, 0x10 | 0x20 | 0x30 | 0x40 | 0x60) => Effect::None,
            (SEQ, _) => Effect::Counts,
            (BTREE | HASH | GIN | GIST | SPGIST | BRIN, _) => Effect::None,
            (XLOG, _) if self.operation == XLOG_FPI_FOR_HINT => Effect::None,
            _ => Effect::Other,
        }
    }

    /// The pages that the record refers to, and its main data.
    fn blocks(&self) -> Result<(Vec<Block>, &'a [u8])> {
        const SAME_RELATION: u8 = 0x80;
        const HAS_IMAGE: u8 = 0x10;
        const IMAGE_HAS_HOLE: u8 = 0x01;
        const IMAGE_IS_COMPRESSED: u8 = 0x1C;
        const MAIN_SHORT: u8 = 255;
        const MAIN_LONG: u8 = 254;
        const ORIGIN: u8 = 253;
        const TOP_TRANSACTION: u8 = 252;
        let mut rest = Bytes(self.body);
        let mut blocks: Vec<Block> = Vec::new();
        // Of the data behind the heads: of blocks, then the main data.
        let (mut data, mut main) = (0, 0);
        while rest.0.len() > data {
            match rest.u8()? {
                MAIN_SHORT => {
                    main = usize::from(rest.u8()?);
                    data += main;
                    break;
                }
                MAIN_LONG => {
                    main = rest.u32()? as usize;
                    data += main;
                    break;
                }
                ORIGIN => drop(rest.u16()?),
                TOP_TRANSACTION => drop(rest.u32()?),
                number => {
                    let flags = rest.u8()?;
                    data += usize::from(rest.u16()?);
                    if flags & HAS_IMAGE != 0 {
                        data += usize::from(rest.u16()?);
                        rest.u16()?;
                        let info = rest.u8()?;
                        if info & IMAGE_IS_COMPRESSED != 0 && info & IMAGE_HAS_HOLE != 0 {
                            rest.u16()?;
                        }
                    }
                    let (database, filenode) = if flags & SAME_RELATION == 0 {
                        rest.u32()?;
                        (rest.u32()?, rest.u32()?)
                    } else {
                        let last = blocks.last().ok_or_else(corrupt)?;
                        (last.database, last.filenode)
                    };
                    blocks.push(Block { number, fork: flags & 0x0F, database, filenode, page: rest.u32()? });
                }
            }
        }
        if rest.0.len() != data {
            return Err(corrupt());
        }
        Ok((blocks, &rest.0[data - main..]))
    }
}

/// A page that a record refers to.
struct Block {
    number: u8,
    fork: u8,
    database: u32,
    filenode: u32,
    page: u32,
}

/// Bytes that are read from the front. The log is in the machine's own byte order.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count).ok_or_else(corrupt)?;
        self.0 = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk().ok_or_else(corrupt)?;
        self.0 = rest;
        Ok(*front)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_ne_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_ne_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_ne_bytes(self.array()?))
    }
}

fn corrupt() -> Error {
    Error::server("a record of the write-ahead log is not laid out as expected")
}
