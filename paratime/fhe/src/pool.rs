//! The threads on which FHE runs: a stated number, shared by every ParaTime of a node.
//!
//! Each job runs from start to end on one worker, and **each worker is a rayon pool of its own with a single thread**.
//! That is what makes results independent of the number of threads: tfhe chooses between two carry propagations by
//! `rayon::current_num_threads()` (`integer/server_key/radix_parallel/add.rs`, `should_parallel_propagation_be_faster`),
//! and the two give different bits. Measured with 1.8.2: adding two `u8` takes 8 bootstraps in pools of 1 to 3 threads
//! and 11, with another result, in one of 16. Parallelism therefore lies between operations, never inside one.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Most threads of a pool.
pub const MAX_THREADS: usize = 256;
/// How long a wait for results goes on before the caller's wish to cancel is looked at again.
pub(crate) const POLL: Duration = Duration::from_millis(10);

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    available: Condvar,
}

/// A fixed number of FHE workers with one queue, first in, first out.
pub struct FhePool {
    shared: Arc<Shared>,
    workers: Vec<rayon::ThreadPool>,
}

impl FhePool {
    /// Starts `threads` workers, at least 1 and at most [`MAX_THREADS`].
    ///
    /// # Errors
    /// A text if the system refuses a thread.
    pub fn new(threads: usize) -> Result<Arc<Self>, String> {
        if !(1..=MAX_THREADS).contains(&threads) {
            return Err(format!("an FHE pool of {threads} threads was asked for; it has 1 to {MAX_THREADS}"));
        }
        let shared = Arc::new(Shared::default());
        let mut workers = Vec::with_capacity(threads);
        for i in 0..threads {
            let worker = rayon::ThreadPoolBuilder::new()
                .num_threads(1)
                .thread_name(move |_| format!("fhe-{i}"))
                .build()
                .map_err(|e| format!("the system refused FHE thread {} of {threads}: {e}", i + 1))?;
            let shared = Arc::clone(&shared);
            worker.spawn(move || serve(&shared));
            workers.push(worker);
        }
        Ok(Arc::new(Self { shared, workers }))
    }

    /// How many workers it has.
    pub fn threads(&self) -> usize {
        self.workers.len()
    }

    fn push(&self, job: Job) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.jobs.push_back(job);
        drop(queue);
        self.shared.available.notify_one();
    }

    /// Runs one job on a worker and waits for it.
    ///
    /// # Errors
    /// A text if the job panicked.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
        let mut batch = Batch::new(self);
        batch.submit(0, move || Ok(job()));
        match batch.next(&|| false) {
            Ok((_, result)) => Ok(result),
            Err(BatchError::Failed(reason)) => Err(reason),
            Err(BatchError::Cancelled) => Err("the job was cancelled".to_owned()),
        }
    }
}

impl Drop for FhePool {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.closed = true;
        queue.jobs.clear();
        drop(queue);
        self.shared.available.notify_all();
    }
}

fn serve(shared: &Shared) {
    loop {
        let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let job = loop {
            match queue.jobs.pop_front() {
                Some(job) => break job,
                None if queue.closed => return,
                None => queue = shared.available.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(queue);
        job();
    }
}

/// Why a batch of jobs ended early.
#[derive(Debug)]
pub(crate) enum BatchError {
    /// The caller no longer wants it.
    Cancelled,
    /// A job failed; its reason.
    Failed(String),
}

/// Jobs of one evaluation. Dropping it makes those that have not started return at once.
pub(crate) struct Batch<'a, T> {
    pool: &'a FhePool,
    abandoned: Arc<AtomicBool>,
    sender: Sender<(usize, Result<T, String>)>,
    receiver: Receiver<(usize, Result<T, String>)>,
}

impl<'a, T: Send + 'static> Batch<'a, T> {
    pub(crate) fn new(pool: &'a FhePool) -> Self {
        let (sender, receiver) = channel();
        Self { pool, abandoned: Arc::new(AtomicBool::new(false)), sender, receiver }
    }

    /// Queues a job under a number of the caller's.
    pub(crate) fn submit(&mut self, id: usize, job: impl FnOnce() -> Result<T, String> + Send + 'static) {
        let (sender, abandoned) = (self.sender.clone(), Arc::clone(&self.abandoned));
        self.pool.push(Box::new(move || {
            if abandoned.load(Ordering::Relaxed) {
                return;
            }
            // tfhe asserts what it relies on; a failed assertion must end this job, not the worker.
            let result = catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|panic| Err(panic_text(&*panic)));
            // Nobody listens any more when the batch was abandoned meanwhile.
            let _ = sender.send((id, result));
        }));
    }

    /// The next result, in order of completion.
    pub(crate) fn next(&self, cancelled: &dyn Fn() -> bool) -> Result<(usize, T), BatchError> {
        loop {
            if cancelled() {
                return Err(BatchError::Cancelled);
            }
            match self.receiver.recv_timeout(POLL) {
                Ok((id, Ok(value))) => return Ok((id, value)),
                Ok((id, Err(reason))) => return Err(BatchError::Failed(format!("job {id}: {reason}"))),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(BatchError::Failed("the workers are gone".to_owned()));
                }
            }
        }
    }
}

impl<T> Drop for Batch<'_, T> {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "the library panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_sees_a_single_threaded_rayon_pool() {
        for threads in [1, 3] {
            let pool = FhePool::new(threads).unwrap();
            assert_eq!(pool.threads(), threads);
            assert_eq!(pool.run(rayon::current_num_threads), Ok(1));
        }
    }

    #[test]
    fn a_panic_ends_its_job_and_leaves_the_worker_alive() {
        let pool = FhePool::new(1).unwrap();
        let failed: Result<(), String> = pool.run(|| panic!("an assertion of the library"));
        assert_eq!(failed, Err("job 0: an assertion of the library".to_owned()));
        assert_eq!(pool.run(|| 7), Ok(7));
    }

    #[test]
    fn a_cancelled_batch_returns_though_its_jobs_are_still_queued() {
        let pool = FhePool::new(1).unwrap();
        let mut batch: Batch<'_, ()> = Batch::new(&pool);
        for i in 0..100 {
            batch.submit(i, || {
                std::thread::sleep(Duration::from_millis(5));
                Ok(())
            });
        }
        assert!(matches!(batch.next(&|| true), Err(BatchError::Cancelled)));
        drop(batch);
        assert_eq!(pool.run(|| 1), Ok(1));
    }

    #[test]
    fn a_pool_without_threads_is_refused() {
        assert!(FhePool::new(0).is_err());
        assert!(FhePool::new(MAX_THREADS + 1).is_err());
    }
}
