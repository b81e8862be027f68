//! A record on two disks: what nobody can do faster who answers only when both have it.
//!
//! Always: written and flushed here by a thread of its own, as a journal does, while a thread at the other end of a connection of this
//! machine does the same. Never here: an order between records, an election, anything that makes it a log.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context as _, Result};

use crate::halves::{Halves, put_this_thread};

/// About what a small command writes.
const RECORD: [u8; 500] = [b'r'; 500];
/// Written over and over, so that a flush has nothing but the record to flush.
const FILE_BYTES: usize = 4 << 20;

/// A file and its copy.
pub(crate) struct Mirror {
    records: SyncSender<()>,
    flushed: Receiver<std::io::Result<()>>,
    other: TcpStream,
}

struct Flusher {
    file: File,
    offset: u64,
}

impl Flusher {
    fn create(path: &Path) -> Result<Flusher> {
        let file = File::create(path)?;
        file.write_all_at(&vec![0; FILE_BYTES], 0)?;
        file.sync_all()?;
        Ok(Flusher { file, offset: 0 })
    }

    fn append(&mut self) -> std::io::Result<()> {
        self.file.write_all_at(&RECORD, self.offset)?;
        let end = FILE_BYTES as u64 - RECORD.len() as u64;
        self.offset = (self.offset + RECORD.len() as u64) % end;
        self.file.sync_data()
    }
}

impl Mirror {
    /// In this directory; the other end in the other half of the machine, if it is divided.
    pub(crate) fn create(dir: &Path, halves: Option<&Halves>) -> Result<Mirror> {
        let mut here = Flusher::create(&dir.join("here"))?;
        let mut there = Flusher::create(&dir.join("there"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut answering = TcpStream::connect(listener.local_addr()?)?;
        let (other, _) = listener.accept()?;
        other.set_nodelay(true)?;
        answering.set_nodelay(true)?;
        let there_only = halves.map(|halves| halves.there);
        std::thread::spawn(move || {
            if there_only.is_some_and(|half| put_this_thread(&half).is_err()) {
                return;
            }
            let mut record = RECORD;
            while answering.read_exact(&mut record).is_ok() {
                // Whoever waits for the answer sees the end of the connection.
                if there.append().is_err() || answering.write_all(&[1]).is_err() {
                    return;
                }
            }
        });
        let (records, to_flush) = sync_channel(1);
        let (tell, flushed) = sync_channel(1);
        std::thread::spawn(
            move || {
                while to_flush.recv().is_ok() && tell.send(here.append()).is_ok() {}
            },
        );
        Ok(Mirror {
            records,
            flushed,
            other,
        })
    }

    /// A record on this disk only.
    pub(crate) fn append_here(&self) -> Result<()> {
        self.records.send(())?;
        Ok(self.flushed.recv()??)
    }

    /// A record on both.
    pub(crate) fn append_on_both(&mut self) -> Result<()> {
        self.records.send(())?;
        self.other.write_all(&RECORD)?;
        self.flushed.recv()??;
        self.other
            .read_exact(&mut [0])
            .context("the other one has it not")
    }
}
