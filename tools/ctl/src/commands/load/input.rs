//! The input: read and understood in a thread of its own, so that a slow pipe never keeps the connection from being
//! served.

use std::io::Read;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::lines::{BadLine, Found, Lines, Record, parse};

/// Lines that are handed over at a time, at most.
const BATCH_LINES: usize = 256;
/// Bytes of lines that are handed over at a time; one line may exceed it.
const BATCH_BYTES: usize = 256 * 1024;
/// Batches read ahead. With the longest lines, of 10 MiB, these are 40 MiB.
const BATCHES: usize = 4;

/// What a line holds.
#[derive(Debug)]
pub(crate) enum Content {
    /// A record to be put.
    Record(Record),
    /// Nothing.
    Blank,
    /// What cannot be loaded.
    Bad(BadLine),
}

/// A line of the input.
#[derive(Debug)]
pub(crate) struct Line {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// The bytes that it takes, with its end.
    pub(crate) span: u64,
    /// What it holds.
    pub(crate) content: Content,
}

/// Lines in their order; the last batch is an error if the input could not be read to its end.
pub(crate) type Batch = Result<Vec<Line>, String>;

/// Starts to read.
pub(crate) fn start(input: impl Read + Send + 'static) -> Receiver<Batch> {
    let (sender, receiver) = sync_channel(BATCHES);
    // Ends with the input, or with the receiver.
    thread::spawn(move || read(input, &sender));
    receiver
}

fn read(input: impl Read, sender: &SyncSender<Batch>) {
    let mut lines = Lines::new(input, BATCH_BYTES);
    let mut line = Vec::new();
    let mut number = 0;
    let mut batch = Vec::new();
    let mut bytes = 0;
    loop {
        let before = lines.read;
        let content = match lines.next(&mut line) {
            Ok(Found::Line) => match parse(&line) {
                Ok(record) => record.map_or(Content::Blank, Content::Record),
                Err(bad) => Content::Bad(bad),
            },
            Ok(Found::TooLong(bytes)) => Content::Bad(BadLine::TooLong(bytes)),
            Ok(Found::End) => {
                drop(sender.send(Ok(batch)));
                return;
            }
            Err(error) => {
                // What was read until here is good.
                drop(sender.send(Ok(batch)).and_then(|()| sender.send(Err(error.to_string()))));
                return;
            }
        };
        number += 1;
        let span = lines.read - before;
        bytes += line.len();
        batch.push(Line { number, span, content });
        if batch.len() >= BATCH_LINES || bytes >= BATCH_BYTES || lines.is_dry() {
            bytes = 0;
            if sender.send(Ok(std::mem::take(&mut batch))).is_err() {
                return;
            }
        }
    }
}
