//! Network work on a thread of its own, so that neither a stop nor the person's patience hangs on a silent peer.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use transunet::control::{Control, Progress, Stage};

use super::super::caught;
use super::super::failure::Outcome;
use super::super::terminal;
use super::trouble::{Result, Trouble};

/// How often the caller's flag is looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long work may take to notice that it is to stop, before it is left alone.
const GRACE: Duration = Duration::from_millis(400);

/// What the work and its caller tell each other.
#[derive(Clone, Default)]
pub struct Line(Arc<Shared>);

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Signs of life of the peer.
    beats: AtomicU64,
    done: AtomicU64,
    total: AtomicU64,
}

impl Line {
    /// The peer did something. Fails once the work is to stop.
    pub fn alive(&self) -> Result<()> {
        self.0.beats.fetch_add(1, Ordering::Relaxed);
        self.check()
    }

    pub fn check(&self) -> Result<()> {
        if self.0.stop.load(Ordering::Acquire) { Err(Trouble::Cancelled) } else { Ok(()) }
    }

    /// Waits; the peer need show no sign of life meanwhile.
    pub fn pause(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.alive()?;
            thread::sleep(TICK);
        }
        Ok(())
    }

    /// `total` 0: unknown.
    pub fn tell(&self, done: u64, total: u64) -> Result<()> {
        self.0.total.store(total, Ordering::Relaxed);
        self.0.done.store(done, Ordering::Relaxed);
        self.alive()
    }
}

/// A body on its way to a peer: shows signs of life and how far it is while it is read.
pub struct Watched<'a, R> {
    body: R,
    length: u64,
    read: u64,
    line: &'a Line,
}

impl<'a, R: Read> Watched<'a, R> {
    pub fn new(body: R, length: u64, line: &'a Line) -> Self {
        Watched { body, length, read: 0, line }
    }
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read(into)?;
        self.read += count as u64;
        if count == 0 && self.read < self.length && !into.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was sent"));
        }
        let percent = self.read.saturating_mul(100) / self.length.max(1);
        self.line.tell(percent, 100).map_err(|_| io::Error::other("cancelled"))?;
        Ok(count)
    }
}

/// Does `work` with a peer that must show a sign of life every `patience`.
pub fn apart<T: Send + 'static>(
    stage: Stage,
    patience: Duration,
    control: &mut Control,
    work: impl FnOnce(&Line) -> Result<T> + Send + 'static,
) -> Outcome<Result<T>> {
    let line = Line::default();
    let (send, outcome) = channel();
    let its = line.clone();
    thread::spawn(move || {
        let ended = caught(|| Ok(work(&its)));
        send.send((ended, terminal::warnings()))
    });
    // Shown already; said again, they belong to the caller's work.
    let told = |(ended, warnings): (Outcome<Result<T>>, Vec<String>)| {
        warnings.iter().for_each(|warning| log::warn!("{warning}"));
        ended
    };
    let mut latest = (0, Instant::now());
    loop {
        match outcome.recv_timeout(TICK) {
            Ok(ended) => return told(ended),
            Err(RecvTimeoutError::Disconnected) => return Ok(Err(Trouble::Cancelled)),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let Shared { stop, beats, done, total } = &*line.0;
        let number = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let event = Progress::of(stage, number(done) as usize, number(total) as usize);
        if control.report(event).is_err() {
            stop.store(true, Ordering::Release);
            // What has just been done is not called undone.
            return match outcome.recv_timeout(GRACE) {
                Ok(ended) => told(ended),
                Err(_) => Ok(Err(Trouble::Cancelled)),
            };
        }
        if latest.0 != number(beats) {
            latest = (number(beats), Instant::now());
        }
        if latest.1.elapsed() >= patience {
            stop.store(true, Ordering::Release);
            let message = format!("nothing came for {} s", patience.as_secs());
            return Ok(Err(Trouble::peer(message, "--timeout SECONDS waits longer; is this the right host and port?")));
        }
    }
}

#[cfg(test)]
mod tests {
    use transunet::control::Cancel;

    use super::*;

    fn silent(line: &Line) -> Result<()> {
        line.alive()?;
        thread::sleep(Duration::from_secs(20));
        Ok(())
    }

    #[test]
    fn a_silent_peer_is_given_up() {
        let start = Instant::now();
        let ended = apart(Stage::Read, Duration::from_millis(300), &mut Control::none(), silent).unwrap();
        assert!(matches!(ended, Err(Trouble::Peer { message, .. }) if message.contains("nothing came")));
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_stop_does_not_wait_for_the_peer() {
        let cancel = Cancel::default();
        let mut control = Control::none().with_cancel(&cancel);
        let start = Instant::now();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            cancel.trigger();
        });
        let ended = apart(Stage::Read, Duration::from_secs(60), &mut control, silent).unwrap();
        assert!(matches!(ended, Err(Trouble::Cancelled)));
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn what_was_done_at_the_stop_is_done() {
        let cancel = Cancel::default();
        cancel.trigger();
        let mut control = Control::none().with_cancel(&cancel);
        let work = |_: &Line| {
            thread::sleep(Duration::from_millis(150));
            Ok(7)
        };
        let ended = apart(Stage::Read, Duration::from_secs(60), &mut control, work).unwrap();
        assert!(matches!(ended, Ok(7)));
    }
}
