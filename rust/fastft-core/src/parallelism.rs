//! How many threads work, and in which pool.
//!
//! The pool is our own, so that nobody else's rayon settings reach us and ours reach nobody. It is
//! started by the first call that wants more than one thread and kept for the next one. A forked
//! child inherits the pool but none of its threads: it notices by its process id and starts anew.
//!
//! Cost: starting a pool takes tens of microseconds, finding it again well below one.

use std::ops::Range;
use std::sync::{Arc, Mutex, TryLockError};

use rayon::ThreadPool;
use rayon::prelude::*;

use crate::error::{Error, Result};

/// A pool, the process that started it, and its number of threads.
struct Shared {
    process: u32,
    num_threads: usize,
    pool: Arc<ThreadPool>,
}

static SHARED: Mutex<Option<Shared>> = Mutex::new(None);

/// The number of threads that a call uses when it names none: the cores that this process may
/// run on, divided among the ranks that `torchrun` put on this machine.
#[must_use]
pub fn default_num_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let ranks = std::env::var("LOCAL_WORLD_SIZE")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    (cores / std::cmp::max(ranks, 1)).max(1)
}

/// Runs `work` on every range, on `num_threads` threads (`None`: [`default_num_threads`]), and
/// returns the results in the order of the ranges. With one thread no pool is touched.
///
/// # Errors
///
/// Those of [`map_parts`].
pub fn map_ranges<T, F>(
    num_threads: Option<usize>,
    ranges: Vec<Range<usize>>,
    work: F,
) -> Result<Vec<T>>
where
    T: Send,
    F: Fn(Range<usize>) -> Result<T> + Send + Sync,
{
    map_parts(num_threads, ranges, work)
}

/// [`map_ranges`] for parts of any kind: rows that are written to, for example.
///
/// # Errors
///
/// [`Error::Zero`] for zero threads, [`Error::NoThreads`] when the system gives none, and
/// otherwise the first error, in the order of the parts, that `work` returned.
pub fn map_parts<P, T, F>(num_threads: Option<usize>, parts: Vec<P>, work: F) -> Result<Vec<T>>
where
    P: Send,
    T: Send,
    F: Fn(P) -> Result<T> + Send + Sync,
{
    let num_threads = match num_threads {
        Some(0) => {
            return Err(Error::Zero {
                name: "num_threads",
            });
        }
        // Counting the cores reads files of the system: that takes longer than a small part.
        _ if parts.len() < 2 => 1,
        Some(some) => some,
        None => default_num_threads(),
    };
    if num_threads == 1 {
        return parts.into_iter().map(work).collect();
    }
    let results: Vec<Result<T>> =
        pool(num_threads)?.install(|| parts.into_par_iter().map(work).collect());
    results.into_iter().collect()
}

/// Cuts `0..len` into ranges of `size` (the last one may be shorter).
#[must_use]
pub fn ranges(len: usize, size: usize) -> Vec<Range<usize>> {
    let size = size.max(1);
    (0..len)
        .step_by(size)
        .map(|start| start..len.min(start.saturating_add(size)))
        .collect()
}

/// The shared pool when it fits, a new one otherwise.
///
/// The lock is only tried: a fork may have copied it while a thread of the parent held it, and in
/// the child nobody would ever give it back. Whoever does not get it starts a pool for one call.
fn pool(num_threads: usize) -> Result<Arc<ThreadPool>> {
    let mut shared = match SHARED.try_lock() {
        Ok(shared) => shared,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return start(num_threads),
    };
    let process = std::process::id();
    if let Some(found) = shared.as_ref()
        && found.process == process
        && found.num_threads == num_threads
    {
        return Ok(Arc::clone(&found.pool));
    }
    let pool = start(num_threads)?;
    let old = shared.replace(Shared {
        process,
        num_threads,
        pool: Arc::clone(&pool),
    });
    // The threads of a pool of the parent do not exist here: it must not try to stop them.
    if let Some(old) = old
        && old.process != process
    {
        std::mem::forget(old);
    }
    Ok(pool)
}

fn start(num_threads: usize) -> Result<Arc<ThreadPool>> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(num_threads)
        .thread_name(|index| format!("fastft-{index}"))
        .build()
        .map(Arc::new)
        .map_err(|error| Error::NoThreads {
            reason: error.to_string(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_everything_once() {
        assert_eq!(ranges(7, 3), vec![0..3, 3..6, 6..7]);
        assert_eq!(ranges(0, 3), Vec::<Range<usize>>::new());
        assert_eq!(ranges(2, 0), vec![0..1, 1..2]);
    }

    #[test]
    fn results_keep_their_order_on_any_number_of_threads() {
        for num_threads in [Some(1), Some(2), Some(5), None] {
            let starts = map_ranges(num_threads, ranges(100, 3), |range| Ok(range.start));
            assert_eq!(starts, Ok((0..100).step_by(3).collect()));
        }
    }

    #[test]
    fn the_first_error_in_order_wins() {
        let result = map_ranges(Some(4), ranges(64, 1), |range| {
            if range.start % 10 == 3 {
                return Err(Error::InvalidUtf8 {
                    row: range.start,
                    byte: 0,
                });
            }
            Ok(())
        });
        assert_eq!(result, Err(Error::InvalidUtf8 { row: 3, byte: 0 }));
    }

    #[test]
    fn zero_threads_are_refused() {
        let result = map_ranges(Some(0), ranges(3, 1), |_| Ok(()));
        assert_eq!(
            result,
            Err(Error::Zero {
                name: "num_threads"
            })
        );
    }
}
