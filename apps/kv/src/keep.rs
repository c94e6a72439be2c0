//! Keeping the contents on the disk: a task that writes what changed, all that waits at once, and wakes who waits for it.
//!
//! A record is the time (8 bytes, little-endian, milliseconds), then changes.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::future::poll_fn;
use core::task::Poll;

use weir_block::{BlockDevice, BlockQueue};
use weir_kvlog::{Error, Log};
use weir_rt::clock::now_ns;
use weir_rt::{log, process, random};

use crate::contents::Contents;

/// Bytes of contents per record while all are rewritten.
pub(crate) const PIECE_BYTES: usize = 256 << 10;
/// How long the disk may take for a record.
const PATIENCE_NS: u64 = 10_000_000_000;

/// Keeps all changes from now on. A disk that fails ends the program, which starts again from what is on it: nothing that
/// was not kept was acknowledged. `_device` must stay, as its driver stops it when it goes.
pub(crate) async fn keep<B: BlockDevice>(_device: B, mut log: Log<B::Queue>, contents: Rc<Contents>) {
    let Err(error) = keep_going(&mut log, &contents).await;
    log!("disk: {error}");
    process::exit(1)
}

async fn keep_going<Q: BlockQueue>(
    log: &mut Log<Q>,
    contents: &Contents,
) -> Result<Infallible, Error<Q::Error>> {
    let mut batch = Vec::new();
    loop {
        batch.clear();
        batch.extend_from_slice(&contents.now_ms().to_le_bytes());
        contents.take_changes(&mut batch).await;
        if log.has_room(batch.len()) {
            log.append(&batch)?;
            finish(log).await?;
        } else {
            rewrite(log, contents).await?;
        }
        contents.set_kept();
    }
}

/// Writes all contents, changes that were just taken among them, into the other half of the disk.
async fn rewrite<Q: BlockQueue>(log: &mut Log<Q>, contents: &Contents) -> Result<(), Error<Q::Error>> {
    contents.hold(true);
    log.begin_rewrite(random::seed())?;
    let mut from = Some(0);
    while let Some(place) = from {
        from = append_piece(log, contents, place)?;
        finish(log).await?;
    }
    log.finish_rewrite()?;
    finish(log).await?;
    contents.hold(false);
    Ok(())
}

/// The same, before anything is served.
pub(crate) fn repair<Q: BlockQueue>(log: &mut Log<Q>, contents: &Contents) -> Result<(), Error<Q::Error>> {
    log.begin_rewrite(random::seed())?;
    let mut from = Some(0);
    while let Some(place) = from {
        from = append_piece(log, contents, place)?;
        wait(log)?;
    }
    log.finish_rewrite()?;
    wait(log)
}

fn append_piece<Q: BlockQueue>(
    log: &mut Log<Q>,
    contents: &Contents,
    place: u32,
) -> Result<Option<u32>, Error<Q::Error>> {
    let mut piece = contents.now_ms().to_le_bytes().to_vec();
    let next = contents.store.borrow().snapshot(place, PIECE_BYTES, &mut piece);
    log.append(&piece)?;
    Ok(next)
}

/// Lets others work until the log is idle.
async fn finish<Q: BlockQueue>(log: &mut Log<Q>) -> Result<(), Error<Q::Error>> {
    let end_ns = now_ns().saturating_add(PATIENCE_NS);
    poll_fn(|context| match log.poll() {
        Ok(true) => Poll::Ready(Ok(())),
        Ok(false) if now_ns() < end_ns => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
        Ok(false) => Poll::Ready(Err(Error::Late)),
        Err(error) => Poll::Ready(Err(error)),
    })
    .await
}

fn wait<Q: BlockQueue>(log: &mut Log<Q>) -> Result<(), Error<Q::Error>> {
    let end_ns = now_ns().saturating_add(PATIENCE_NS);
    while !log.poll()? {
        if now_ns() >= end_ns {
            return Err(Error::Late);
        }
    }
    Ok(())
}
