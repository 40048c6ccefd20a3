//! Batches made ahead of time by threads, and handed out in the order in which they were asked for.
//!
//! A [`DataLoader`] holds a line of jobs. Whoever trains puts jobs in at the end and takes batches
//! from the front; threads of the loader do the jobs in between. What a job is and what it makes is
//! the caller's business: the threads call one function, and know nothing of Python.
//!
//! Invariants: batches come out in the order of their jobs, whatever the number of threads; a panic
//! in a job is an error of that batch; dropping the loader ends its threads. A forked child inherits
//! the line but none of the threads, so there every call says so at once ([`Error::Forked`]).

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Error, Result};

/// Threads that turn jobs `J` into batches `B`.
#[derive(Debug)]
pub struct DataLoader<J, B> {
    shared: Arc<Shared<J, B>>,
    threads: Vec<JoinHandle<()>>,
    process: u32,
}

#[derive(Debug)]
struct Shared<J, B> {
    line: Mutex<Line<J, B>>,
    /// A job was put in, or the loader ends.
    job_came: Condvar,
    /// A batch was made.
    batch_came: Condvar,
}

#[derive(Debug)]
struct Line<J, B> {
    entries: VecDeque<Entry<J, B>>,
    /// The number of the entry at the front, counted from the first that ever was.
    front: usize,
    /// The number of the first entry that no thread has taken yet.
    next: usize,
    is_closed: bool,
}

#[derive(Debug)]
enum Entry<J, B> {
    Waiting(J),
    InWork,
    Done(Result<B>),
}

impl<J: Send + 'static, B: Send + 'static> DataLoader<J, B> {
    /// Starts `num_threads` threads, which call `make` for each job.
    ///
    /// # Errors
    ///
    /// [`Error::Zero`] for zero threads, [`Error::NoThreads`] when the system gives none.
    pub fn start(
        num_threads: usize,
        make: impl Fn(J) -> Result<B> + Send + Sync + 'static,
    ) -> Result<Self> {
        if num_threads == 0 {
            return Err(Error::Zero {
                name: "num_threads",
            });
        }
        let mut loader = Self {
            shared: Arc::new(Shared {
                line: Mutex::new(Line {
                    entries: VecDeque::new(),
                    front: 0,
                    next: 0,
                    is_closed: false,
                }),
                job_came: Condvar::new(),
                batch_came: Condvar::new(),
            }),
            threads: Vec::with_capacity(num_threads),
            process: std::process::id(),
        };
        let make = Arc::new(make);
        for index in 0..num_threads {
            let (shared, make) = (Arc::clone(&loader.shared), Arc::clone(&make));
            let thread = std::thread::Builder::new()
                .name(format!("fastft-loader-{index}"))
                .spawn(move || shared.work(make.as_ref()))
                .map_err(|error| Error::NoThreads {
                    reason: error.to_string(),
                })?;
            loader.threads.push(thread);
        }
        Ok(loader)
    }

    /// Puts a job at the end of the line.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`].
    pub fn put(&self, job: J) -> Result<()> {
        self.check_process()?;
        self.shared.lock().entries.push_back(Entry::Waiting(job));
        self.shared.job_came.notify_one();
        Ok(())
    }

    /// Takes the batch at the front of the line, and waits for it for at most `patience`.
    ///
    /// `None` when the line is empty, or when the batch is not there in time:
    /// [`DataLoader::num_outstanding`] tells which.
    ///
    /// # Errors
    ///
    /// What `make` returned for this job; [`Error::Panic`] when it panicked; [`Error::Forked`].
    pub fn take(&self, patience: Duration) -> Result<Option<B>> {
        self.check_process()?;
        let not_there = |line: &mut Line<J, B>| {
            matches!(
                line.entries.front(),
                Some(Entry::Waiting(_) | Entry::InWork)
            )
        };
        let waited =
            self.shared
                .batch_came
                .wait_timeout_while(self.shared.lock(), patience, not_there);
        let (mut line, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if not_there(&mut line) {
            return Ok(None);
        }
        let Some(Entry::Done(batch)) = line.entries.pop_front() else {
            return Ok(None);
        };
        line.front += 1;
        batch.map(Some)
    }

    /// How many jobs were put in whose batches were not taken yet.
    #[must_use]
    pub fn num_outstanding(&self) -> usize {
        if self.check_process().is_err() {
            return 0;
        }
        self.shared.lock().entries.len()
    }

    /// In a forked child nobody works, and the lock may be one that nobody gives back.
    fn check_process(&self) -> Result<()> {
        if std::process::id() == self.process {
            Ok(())
        } else {
            Err(Error::Forked)
        }
    }
}

impl<J, B> Shared<J, B> {
    /// What a thread does until the loader ends.
    fn work(&self, make: &(impl Fn(J) -> Result<B> + ?Sized)) {
        while let Some((number, job)) = self.next_job() {
            let batch = catch_unwind(AssertUnwindSafe(|| make(job)))
                .unwrap_or_else(|panic| Err(Error::panic(panic.as_ref())));
            let mut line = self.lock();
            let position = number.checked_sub(line.front);
            if let Some(entry) = position.and_then(|position| line.entries.get_mut(position)) {
                *entry = Entry::Done(batch);
            }
            drop(line);
            self.batch_came.notify_all();
        }
    }

    /// Waits for a job; `None` when the loader ends.
    fn next_job(&self) -> Option<(usize, J)> {
        let nothing_to_do =
            |line: &mut Line<J, B>| !line.is_closed && line.next == line.front + line.entries.len();
        let waited = self.job_came.wait_while(self.lock(), nothing_to_do);
        let mut line = waited.unwrap_or_else(PoisonError::into_inner);
        if line.is_closed {
            return None;
        }
        let number = line.next;
        let position = number.checked_sub(line.front)?;
        let entry = line.entries.get_mut(position)?;
        let Entry::Waiting(job) = std::mem::replace(entry, Entry::InWork) else {
            return None;
        };
        line.next += 1;
        Some((number, job))
    }

    /// No code that could panic runs under the lock, so what a poisoned one guards is whole.
    fn lock(&self) -> MutexGuard<'_, Line<J, B>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J, B> Drop for DataLoader<J, B> {
    fn drop(&mut self) {
        if std::process::id() != self.process {
            // The threads do not exist in a forked child: joining them would wait for ever.
            std::mem::take(&mut self.threads)
                .into_iter()
                .for_each(std::mem::forget);
            return;
        }
        self.shared.lock().is_closed = true;
        self.shared.job_came.notify_all();
        for thread in self.threads.drain(..) {
            // A thread catches the panics of its jobs; there is nothing else to tell.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use proptest::prelude::*;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn batches_keep_their_order_though_jobs_end_in_another() -> Result<()> {
        let (first_may_end, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let loader = DataLoader::start(2, move |job: usize| {
            if job == 0 {
                let _ = wait
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .recv_timeout(LONG);
            }
            Ok(job * 10)
        })?;
        for job in 0..5 {
            loader.put(job)?;
        }
        assert_eq!(loader.take(Duration::from_millis(20))?, None);
        assert_eq!(loader.num_outstanding(), 5);
        let _ = first_may_end.send(());
        for job in 0..5 {
            assert_eq!(loader.take(LONG)?, Some(job * 10));
        }
        assert_eq!(loader.take(LONG)?, None);
        assert_eq!(loader.num_outstanding(), 0);
        Ok(())
    }

    #[test]
    fn an_error_or_a_panic_is_that_of_its_batch_alone() -> Result<()> {
        let loader = DataLoader::start(3, |job: usize| match job {
            1 => Err(Error::Zero { name: "one" }),
            #[expect(clippy::panic, reason = "this is what the test is about")]
            2 => panic!("two"),
            _ => Ok(job),
        })?;
        for job in 0..4 {
            loader.put(job)?;
        }
        assert_eq!(loader.take(LONG), Ok(Some(0)));
        assert_eq!(loader.take(LONG), Err(Error::Zero { name: "one" }));
        let panic = Error::Panic {
            message: "two".to_owned(),
        };
        assert_eq!(loader.take(LONG), Err(panic));
        assert_eq!(loader.take(LONG), Ok(Some(3)));
        Ok(())
    }

    #[test]
    fn dropping_it_ends_its_threads_and_leaves_the_rest_of_the_line() -> Result<()> {
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let loader = DataLoader::start(2, move |job: usize| {
            count.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1));
            Ok(job)
        })?;
        for job in 0..10_000 {
            loader.put(job)?;
        }
        drop(loader);
        // The threads held a copy of the counter each: only ours is left when they are gone.
        assert_eq!(Arc::strong_count(&made), 1);
        assert!(made.load(Ordering::SeqCst) < 10_000);
        Ok(())
    }

    #[test]
    fn no_thread_is_too_few() {
        let none = DataLoader::<(), ()>::start(0, Ok);
        assert_eq!(
            none.err(),
            Some(Error::Zero {
                name: "num_threads"
            })
        );
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_went_in(
            num_threads in 1_usize..5,
            steps in prop::collection::vec((0_usize..4, 0_usize..4), 0..40),
        ) {
            let loader = DataLoader::start(num_threads, |job: usize| Ok(job))?;
            let (mut put, mut taken) = (0, 0);
            for (puts, takes) in steps {
                for _ in 0..puts {
                    loader.put(put)?;
                    put += 1;
                }
                for _ in 0..takes {
                    let expected = (taken < put).then_some(taken);
                    prop_assert_eq!(loader.take(LONG)?, expected);
                    taken += usize::from(expected.is_some());
                }
            }
            prop_assert_eq!(loader.num_outstanding(), put - taken);
        }
    }
}
