//! The log as a row of records, read from its segments.

use super::record::{Change, HEAD, Record};
use crate::error::{Attempt, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// A place in the log, in bytes from its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Lsn(u64);

impl Lsn {
    /// Reads the server's way of writing it, such as `0/16B3748`.
    ///
    /// # Errors
    /// It is written in another way.
    pub(crate) fn parse(text: &str) -> Result<Lsn> {
        let part = |digits| u32::from_str_radix(digits, 16).ok().map(u64::from);
        let parse = |(high, low)| Some(Lsn(part(high)? << 32 | part(low)?));
        let place = text.split_once('/').and_then(parse);
        place.ok_or_else(|| Error::server(format!("`{text}` is no place in the write-ahead log")))
    }

    /// How many bytes lie between an earlier place and this one.
    pub(crate) fn since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The place so many bytes on.
    pub(crate) fn plus(self, bytes: u64) -> Lsn {
        Lsn(self.0 + bytes)
    }

    /// The name of the file that it is in, where each has `segment` bytes.
    pub(crate) fn file_name(self, timeline: u32, segment: u64) -> String {
        let (number, per_high) = (self.0 / segment, (1 << 32) / segment);
        format!("{timeline:08X}{:08X}{:08X}", number / per_high, number % per_high)
    }
}

impl From<u64> for Lsn {
    fn from(place: u64) -> Lsn {
        Lsn(place)
    }
}

/// The log from some place on.
#[derive(Debug)]
pub(crate) struct Log {
    dir: PathBuf,
    /// Bytes per file.
    segment: u64,
    timeline: u32,
    /// Where the next record begins.
    position: u64,
    /// Where the last one that was read began.
    previous: Option<u64>,
    open: Option<(u64, File)>,
    page: Page,
}

/// The page that was read last, as long as one reading lasts: it may fill up later.
#[derive(Debug)]
struct Page {
    address: Option<u64>,
    bytes: Box<[u8; PAGE as usize]>,
}

/// Bytes per page.
pub(in crate::postgres) const PAGE: u64 = 8192;
/// A page's head, and that of the first page of a segment.
const PAGE_HEAD: u64 = 24;
const SEGMENT_HEAD: u64 = 40;
/// What pages begin with, of 15 to 18: of another version nothing is known.
const MAGICS: [u16; 4] = [0xD110, 0xD113, 0xD116, 0xD118];

impl Log {
    /// The log in the folder `dir` (`pg_wal`), from the record that begins at `from`; `segment` and `page` are its
    /// sizes in bytes. `None`: its server was built with pages of another size.
    pub(crate) fn open(dir: PathBuf, segment: u64, page: u64, timeline: u32, from: Lsn) -> Option<Log> {
        let page = (page == PAGE).then(|| Page { address: None, bytes: Box::new([0; PAGE as usize]) })?;
        Some(Log { dir, segment, timeline, position: from.0, previous: None, open: None, page })
    }

    /// The place up to which it was read.
    pub(crate) fn position(&self) -> Lsn {
        Lsn(self.position)
    }

    /// Whether the file that `place` is in is still there.
    pub(crate) fn has(&self, place: Lsn) -> bool {
        self.dir.join(place.file_name(self.timeline, self.segment)).exists()
    }

    /// Goes to another place, where a record begins.
    pub(crate) fn skip_to(&mut self, place: Lsn) {
        if self.position != place.0 {
            self.position = place.0;
            self.previous = None;
        }
    }

    /// Reads on to the last record that ends before `end`; the server must have written that far.
    ///
    /// # Errors
    /// A file cannot be read, is no longer there, or is not laid out as known; or the server went back behind this place,
    /// as it does after a crash. Then the place stays what it was.
    pub(crate) fn read_until(&mut self, end: Lsn, mut visit: impl FnMut(Change)) -> Result<()> {
        self.page.address = None;
        let mut record = Vec::new();
        loop {
            let start = self.behind_page_head(self.position);
            let Some(next) = self.copy(start, end.0, &mut record)? else { return Ok(()) };
            let parsed = Record::new(&record)?;
            parsed.changes(&mut visit)?;
            self.position = if parsed.ends_segment() {
                next.next_multiple_of(self.segment)
            } else {
                next.next_multiple_of(8)
            };
            self.previous = Some(start);
        }
    }

    /// Copies the record that begins at `start`; gives the place behind it, or `None` where it does not end before `end`.
    fn copy(&mut self, start: u64, end: u64, record: &mut Vec<u8>) -> Result<Option<u64>> {
        record.clear();
        let Some(length) = self.length_at(start, end)? else { return Ok(None) };
        let mut place = start;
        while record.len() < length {
            if place.is_multiple_of(PAGE) {
                let behind = self.behind_page_head(place);
                if behind >= end {
                    return Ok(None);
                }
                if !self.continues(place, length - record.len())? {
                    return Err(self.unknown(start));
                }
                place = behind;
            }
            let count = (length - record.len()).min((PAGE - place % PAGE) as usize);
            let there = count.min((end - place) as usize);
            let at = (place % PAGE) as usize;
            record.extend_from_slice(&self.page(place)?[at..at + there]);
            if !self.follows_the_previous(start, record) {
                return Err(self.unknown(start));
            }
            if there < count {
                return Ok(None);
            }
            place += count as u64;
        }
        Ok(Some(place))
    }

    /// The length of the record that begins at `start`; `None`: there is none before `end`.
    fn length_at(&mut self, start: u64, end: u64) -> Result<Option<usize>> {
        if start + 4 > end {
            return Ok(None);
        }
        // Records begin at multiples of eight, so the length is not split between pages.
        let page = self.page(start)?;
        let at = (start % PAGE) as usize;
        let length = u32::from_ne_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]) as usize;
        if length < HEAD {
            return Err(self.unknown(start));
        }
        Ok(Some(length))
    }

    /// Whether the page at `address` begins with the rest of a record, of so many bytes. After a crash it may begin with
    /// another one, and the first part is what was lost.
    fn continues(&mut self, address: u64, rest: usize) -> Result<bool> {
        const FIRST_IS_CONTINUED: u16 = 1;
        let page = self.page(address)?;
        let flags = u16::from_ne_bytes([page[2], page[3]]);
        let told = u32::from_ne_bytes([page[16], page[17], page[18], page[19]]);
        Ok(flags & FIRST_IS_CONTINUED != 0 && told as usize == rest)
    }

    /// Whether what begins at `start` names the record before it, as far as it was copied: else it is none.
    fn follows_the_previous(&self, start: u64, record: &[u8]) -> bool {
        let Some(&[a, b, c, d, e, f, g, h]) = record.get(8..16) else { return true };
        let told = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
        match self.previous {
            Some(previous) => told == previous,
            // Longer ones are left to those who clone.
            None => told < start && start - told <= 4 * self.segment,
        }
    }

    /// Where data begins, at or behind `place`.
    fn behind_page_head(&self, place: u64) -> u64 {
        if place.is_multiple_of(self.segment) {
            place + SEGMENT_HEAD
        } else if place.is_multiple_of(PAGE) {
            place + PAGE_HEAD
        } else {
            place
        }
    }

    /// The page that `place` is on.
    fn page(&mut self, place: u64) -> Result<&[u8; PAGE as usize]> {
        let address = place - place % PAGE;
        if self.page.address != Some(address) {
            self.page.address = None;
            let number = address / self.segment;
            let path = self.dir.join(Lsn(address).file_name(self.timeline, self.segment));
            let failed = || format!("failed to read `{}`", path.display());
            let file = match self.open.take() {
                Some((open, file)) if open == number => file,
                _ => File::open(&path).attempt(ErrorKind::Server, failed)?,
            };
            file.read_exact_at(&mut self.page.bytes[..], address % self.segment)
                .attempt(ErrorKind::Server, failed)?;
            self.open = Some((number, file));
            // A file that was used up is renamed to be a later one: then the address is another.
            let head = &self.page.bytes;
            let magic = u16::from_ne_bytes([head[0], head[1]]);
            let written = u64::from_ne_bytes([
                head[8], head[9], head[10], head[11], head[12], head[13], head[14], head[15],
            ]);
            if !MAGICS.contains(&magic) || written != address {
                self.open = None;
                return Err(self.unknown(address));
            }
            self.page.address = Some(address);
        }
        Ok(&self.page.bytes)
    }

    fn unknown(&self, place: u64) -> Error {
        Error::server(format!("the write-ahead log at byte {place} is not what was expected"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("0/16B3748", Some(0x16B_3748))]
    #[case("1F/A", Some(0x1F_0000_000A))]
    #[case("16B3748", None)]
    #[case("0/x", None)]
    fn places_are_read(#[case] text: &str, #[case] place: Option<u64>) {
        assert_eq!(Lsn::parse(text).ok(), place.map(Lsn));
    }

    #[rstest]
    #[case("0/6000028", 1 << 20, "000000010000000000000060")]
    #[case("1/6000028", 16 << 20, "000000010000000100000006")]
    fn files_are_named_as_the_server_does(#[case] place: &str, #[case] segment: u64, #[case] name: &str) {
        assert_eq!(Lsn::parse(place).unwrap().file_name(1, segment), name);
    }

    const SEGMENT: u64 = 1 << 20;
    /// Where the first record of these logs begins.
    const FIRST: u64 = 0x60_0000 + SEGMENT_HEAD;

    /// A log of one segment, written as the server does.
    struct Sheet {
        bytes: Vec<u8>,
        dir: tempfile::TempDir,
    }

    impl Sheet {
        fn new() -> Sheet {
            let mut sheet = Sheet { bytes: vec![0; SEGMENT as usize], dir: tempfile::tempdir().unwrap() };
            for page in 0..SEGMENT / PAGE {
                sheet.begin_page(FIRST - SEGMENT_HEAD + page * PAGE, 0);
            }
            sheet
        }

        fn put(&mut self, place: u64, bytes: &[u8]) {
            let at = (place % SEGMENT) as usize;
            self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        }

        /// A page that begins with so many bytes of a record that began before.
        fn begin_page(&mut self, address: u64, rest: usize) {
            self.put(address, &MAGICS[0].to_ne_bytes());
            self.put(address + 2, &u16::from(rest > 0).to_ne_bytes());
            self.put(address + 8, &address.to_ne_bytes());
            self.put(address + 16, &(rest as u32).to_ne_bytes());
        }

        /// Writes that a database got a file, with so many bytes more, and gives the place behind that.
        fn write(&mut self, start: u64, previous: u64, database: u32, more: usize) -> u64 {
            const LONG: u8 = 254;
            const SMGR_CREATE: [u8; 2] = [0x10, 2];
            let main = [0_u32.to_ne_bytes(), database.to_ne_bytes()].concat();
            let length = HEAD + 5 + main.len() + more;
            let mut record = (length as u32).to_ne_bytes().to_vec();
            record.extend([0; 4]);
            record.extend(previous.to_ne_bytes());
            record.extend(SMGR_CREATE);
            record.extend([0; 6]);
            record.push(LONG);
            record.extend(((main.len() + more) as u32).to_ne_bytes());
            record.extend(main);
            record.resize(length, 0x5A);
            let (mut place, mut rest) = (start, record.as_slice());
            while !rest.is_empty() {
                if place.is_multiple_of(PAGE) {
                    self.begin_page(place, rest.len());
                    place += PAGE_HEAD;
                }
                let (here, later) = rest.split_at(rest.len().min((PAGE - place % PAGE) as usize));
                self.put(place, here);
                (place, rest) = (place + here.len() as u64, later);
            }
            place.next_multiple_of(8)
        }

        /// What is read from `from` to `end`: the databases, and the place that is reached.
        fn read(&self, from: u64, end: u64) -> Result<(Vec<u32>, u64)> {
            let mut log = Log::open(self.dir.path().to_owned(), SEGMENT, PAGE, 1, Lsn(from))
                .expect("pages are as usual");
            std::fs::write(self.dir.path().join(Lsn(from).file_name(1, SEGMENT)), &self.bytes).unwrap();
            let mut databases = Vec::new();
            log.read_until(Lsn(end), |change| databases.push(change.database))?;
            Ok((databases, log.position))
        }
    }

    #[test]
    fn whole_records_are_read_over_the_ends_of_pages() {
        let mut sheet = Sheet::new();
        let second = sheet.write(FIRST, FIRST - 64, 7, 0);
        let third = sheet.write(second, FIRST, 8, 20_000);
        let end = sheet.write(third, second, 9, 3);
        assert_eq!(sheet.read(FIRST, end).unwrap(), (vec![7, 8, 9], end));
        assert_eq!(sheet.read(FIRST, third - 1000).unwrap(), (vec![7], second), "the second ends later");
        assert_eq!(sheet.read(FIRST, second + 2).unwrap(), (vec![7], second));
    }

    #[test]
    fn a_place_at_which_no_record_begins_is_told() {
        let mut sheet = Sheet::new();
        let second = sheet.write(FIRST, FIRST - 64, 7, 100);
        let end = sheet.write(second, FIRST, 8, 5000);
        for place in (FIRST + 8..second).step_by(8).chain((second + 8..end - 32).step_by(8)) {
            assert!(sheet.read(place, end).is_err(), "{place:x}");
        }
    }

    /// The server went back behind the last record's beginning, or behind its end.
    #[test]
    fn a_record_that_was_lost_in_a_crash_is_told() {
        let mut sheet = Sheet::new();
        let second = sheet.write(FIRST, FIRST - 64, 7, 0);
        let third = sheet.write(second, FIRST, 8, 20_000);
        let page = second.next_multiple_of(PAGE);
        sheet.begin_page(page, 0);
        sheet.write(page + PAGE_HEAD, second, 9, 100);
        assert!(sheet.read(FIRST, third).is_err());

        let mut sheet = Sheet::new();
        let second = sheet.write(FIRST, FIRST - 64, 7, 0);
        let third = sheet.write(second, FIRST - 8, 8, 0);
        assert!(sheet.read(FIRST, third).is_err(), "it follows another record");
    }
}
