//! Several series at once: each is read, segmented and written by one thread; what became of it is told on the caller's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};

use super::super::caught;
use super::super::failure::{Failure, Outcome};

/// Runs `one` for each of `items`, at most `jobs` at a time, beginning in their order. `tell` gets each outcome; when it
/// fails no further item is begun, and that failure is returned when those under way have ended, whose outcomes it gets
/// too.
pub fn each<T: Sync, R: Send>(
    items: &[T],
    jobs: usize,
    one: impl Fn(&T) -> Outcome<R> + Sync,
    mut tell: impl FnMut(&T, Outcome<R>) -> Outcome,
) -> Outcome {
    let (next, stop) = (Mutex::new(items.iter()), AtomicBool::new(false));
    let (next, stop, one) = (&next, &stop, &one);
    let mut ended: Option<Failure> = None;
    std::thread::scope(|scope| {
        let (send, outcomes) = sync_channel(jobs);
        for _ in 0..jobs.min(items.len()) {
            let send = send.clone();
            scope.spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    let Some(item) = next.lock().unwrap_or_else(PoisonError::into_inner).next() else {
                        return;
                    };
                    if send.send((item, caught(|| one(item)))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        for (item, outcome) in outcomes {
            if let Err(failure) = tell(item, outcome) {
                stop.store(true, Ordering::Release);
                ended.get_or_insert(failure);
            }
        }
    });
    ended.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::super::super::failure::Code;
    use super::*;

    #[test]
    fn every_item_is_told_once_and_a_panic_is_one_failure() {
        let items: Vec<u32> = (0..50).collect();
        for jobs in [1, 3] {
            let (mut told, mut failed) = (Vec::new(), 0);
            let one = |&n: &u32| if n == 7 { panic!("seven") } else { Ok(n * 2) };
            let tell = |&n: &u32, outcome: Outcome<u32>| {
                match outcome {
                    Ok(twice) => assert_eq!(twice, 2 * n),
                    Err(_) => failed += 1,
                }
                told.push(n);
                Ok(())
            };
            each(&items, jobs, one, tell).unwrap();
            told.sort_unstable();
            assert_eq!((told, failed), (items.clone(), 1));
        }
    }

    #[test]
    fn nothing_is_begun_after_an_end() {
        let items: Vec<u32> = (0..50).collect();
        let mut told = 0;
        let end = |_: &u32, _: Outcome<()>| {
            told += 1;
            Err(Failure::new(Code::Output, "full", ""))
        };
        let ended = each(&items, 1, |_| Ok(()), end);
        assert!(ended.is_err_and(|failure| failure.message() == "full"));
        assert!(told <= 3, "{told} were told");
    }
}
