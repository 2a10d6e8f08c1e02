//! `dump`: writes all keys and values as `load` reads them.
//!
//! Partition after partition, and within one in the order of keys. Each page is one linearizable read; pages of one
//! partition are read one after the other, so that a key that is written meanwhile appears with its value at the time
//! of its page.

use std::io::{self, IsTerminal as _, Write};

use bytes::Bytes;
use haystack_client::{Error, GroupId, Page};
use indicatif::ProgressBar;

use crate::clock::now;
use crate::context::{Context, say};
use crate::failure::{Exit, Failure};
use crate::{lines, output};

/// Bytes of keys and values of a page, about: 256 KiB, a few milliseconds of a daemon's time.
const PAGE_BYTES: u32 = 256 * 1024;

/// Writes all keys and values.
///
/// # Errors
/// If a page cannot be read in time, or standard output takes no more for another reason than that nobody reads.
pub(crate) fn dump(context: &Context) -> Result<Exit, Failure> {
    let start = now();
    let mut connection = context.open()?;
    let map = connection.map().map_err(|error| context.failure(&error, false))?;
    let groups: Vec<GroupId> = map.partitions.iter().map(|partition| partition.group).collect();
    let bar = progress();
    let mut tally = Tally::default();
    let ended = write_all(
        &groups,
        |group, after| connection.scan(group, after, PAGE_BYTES),
        context.json,
        &mut io::stdout().lock(),
        &mut tally,
        |tally| {
            if let Some(bar) = &bar {
                bar.set_message(format!("{} keys of {} partitions", tally.keys, tally.groups));
            }
        },
    );
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let seconds = (now() - start).as_secs_f64();
    let done = format!("{} keys ({} bytes of keys and values)", tally.keys, tally.bytes);
    match ended {
        Ok(()) => {
            say(&format!("dumped {done} of {} partitions in {seconds:.2} s", tally.groups));
            Ok(Exit::Done)
        }
        Err(Ended::Nobody) => Ok(Exit::Done),
        Err(Ended::Output(error)) => Err(output::cannot_write(&error)),
        Err(Ended::Cluster(group, error)) => {
            let mut failure = context.failure(&error, false);
            failure.message = format!(
                "the dump is NOT complete: it ends in partition {group}, after {done}: {}",
                failure.message
            );
            Err(failure)
        }
    }
}

/// A counter on the terminal, if the dump itself goes elsewhere.
fn progress() -> Option<ProgressBar> {
    let is_wanted = io::stderr().is_terminal() && !io::stdout().is_terminal();
    is_wanted.then(ProgressBar::new_spinner)
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    /// Partitions, whole.
    groups: usize,
    keys: u64,
    /// Bytes of keys and values.
    bytes: u64,
}

/// Why a dump ended early.
#[derive(Debug)]
enum Ended {
    /// Whoever read has enough.
    Nobody,
    /// Standard output takes no more.
    Output(io::Error),
    /// A page of this partition could not be read.
    Cluster(GroupId, Error),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Nobody } else { Self::Output(error) }
    }
}

/// Writes the pages of all groups.
fn write_all(
    groups: &[GroupId],
    mut page: impl FnMut(GroupId, Option<Bytes>) -> Result<Page, Error>,
    json: bool,
    out: &mut impl Write,
    tally: &mut Tally,
    mut progress: impl FnMut(&Tally),
) -> Result<(), Ended> {
    let mut text = Vec::new();
    for group in groups {
        let mut after: Option<Bytes> = None;
        loop {
            let page = page(*group, after).map_err(|error| Ended::Cluster(*group, error))?;
            text.clear();
            for pair in &page.pairs {
                if json {
                    lines::write_json(&pair.key, &pair.value, pair.version, &mut text);
                } else {
                    lines::write(&pair.key, &pair.value, &mut text);
                }
                tally.bytes += (pair.key.len() + pair.value.len()) as u64;
            }
            out.write_all(&text)?;
            tally.keys += page.pairs.len() as u64;
            progress(tally);
            if !page.more {
                break;
            }
            // Without a pair the same page would be asked for for ever, and to stop here would leave the rest out.
            let last = page.pairs.last().ok_or_else(|| Ended::Cluster(*group, empty_page()))?;
            after = Some(last.key.clone());
        }
        tally.groups += 1;
    }
    Ok(out.flush()?)
}

fn empty_page() -> Error {
    Error::Protocol(
        "there are more keys, and the page has none; is it of another version than this tool?".into(),
    )
}

#[cfg(test)]
mod tests;
