//! Forwards `log` records to listeners that come and go: the log callback of each runtime of the C API.
//!
//! The `log` crate takes one logger for the life of the process. Ours is installed with the first listener; where the
//! program has set its own before, records stay with that one and listeners hear nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread::{self, ThreadId};

use log::{Level, LevelFilter, Log, Metadata, Record};

type Write = Box<dyn Fn(Level, &str, &str) + Send + Sync>;

struct Sink {
    level: LevelFilter,
    write: Write,
    open: AtomicBool,
    /// Held while `write` runs: one call at a time.
    turn: Mutex<()>,
    /// The thread inside `write`, so that it neither waits for itself nor hears its own echo.
    speaker: Mutex<Option<ThreadId>>,
}

/// A listener; dropping it waits for a running call, then there are no more.
pub struct Subscription(Arc<Sink>);

struct Router(RwLock<Vec<Arc<Sink>>>);

static ROUTER: Router = Router(RwLock::new(Vec::new()));

/// A listener that panicked has broken nothing that a lock here protects.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Subscription {
    /// Calls `write` with level, target and message of every record up to `level`, from any thread.
    pub fn new(level: LevelFilter, write: impl Fn(Level, &str, &str) + Send + Sync + 'static) -> Self {
        let sink = Arc::new(Sink {
            level,
            write: Box::new(write),
            open: AtomicBool::new(true),
            turn: Mutex::default(),
            speaker: Mutex::default(),
        });
        ROUTER.change(|sinks| sinks.push(sink.clone()));
        Subscription(sink)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        ROUTER.change(|sinks| sinks.retain(|sink| !Arc::ptr_eq(sink, &self.0)));
        self.0.open.store(false, Ordering::Release);
        if !self.0.speaks_here() {
            drop(lock(&self.0.turn));
        }
    }
}

impl Sink {
    fn speaks_here(&self) -> bool {
        *lock(&self.speaker) == Some(thread::current().id())
    }

    fn deliver(&self, record: &Record) {
        /// Ends the turn also when `write` panics.
        struct Silence<'a>(&'a Sink);
        impl Drop for Silence<'_> {
            fn drop(&mut self) {
                *lock(&self.0.speaker) = None;
            }
        }

        if record.level() > self.level {
            return;
        }
        let _turn = lock(&self.turn);
        if self.open.load(Ordering::Acquire) {
            *lock(&self.speaker) = Some(thread::current().id());
            let _silence = Silence(self);
            (self.write)(record.level(), record.target(), &record.args().to_string());
        }
    }
}

impl Router {
    fn sinks(&self) -> Vec<Arc<Sink>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&'static self, edit: impl FnOnce(&mut Vec<Arc<Sink>>)) {
        static INSTALLED: OnceLock<bool> = OnceLock::new();
        let installed = *INSTALLED.get_or_init(|| log::set_logger(self).is_ok());
        let mut sinks = self.0.write().unwrap_or_else(PoisonError::into_inner);
        edit(&mut sinks);
        if installed {
            log::set_max_level(sinks.iter().map(|sink| sink.level).max().unwrap_or(LevelFilter::Off));
        }
    }
}

impl Log for Router {
    fn enabled(&self, metadata: &Metadata) -> bool {
        self.sinks().iter().any(|sink| metadata.level() <= sink.level)
    }

    fn log(&self, record: &Record) {
        let sinks = self.sinks();
        // What a listener causes is told to nobody: two listeners could wait for each other.
        if !sinks.iter().any(|sink| sink.speaks_here()) {
            sinks.iter().for_each(|sink| sink.deliver(record));
        }
    }

    fn flush(&self) {}
}
