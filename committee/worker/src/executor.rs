//! Threads for FHE work, apart from those of networking and consensus. One executor serves all ParaTimes of a node.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Most jobs that wait for a thread. A worker has one job a ParaTime; more means that cancelled ones are not let go.
const MAX_WAITING: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads, and a bounded queue before them. Cheap to clone; the threads end with the last clone.
#[derive(Clone)]
pub struct Executor {
    queue: SyncSender<Job>,
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Executor")
    }
}

impl Executor {
    /// An executor with this many threads, at least one.
    ///
    /// # Errors
    /// If the operating system refuses a thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel::<Job>(MAX_WAITING);
        let jobs = Arc::new(Mutex::new(jobs));
        for n in 0..threads.max(1) {
            let jobs = Arc::clone(&jobs);
            std::thread::Builder::new().name(format!("fhe-{n}")).spawn(move || work(&jobs))?;
        }
        Ok(Self { queue })
    }

    /// Runs a job when a thread is free. The receiver gets its result, or an error if the queue is full or the job
    /// panicked.
    pub fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> tokio::sync::oneshot::Receiver<T> {
        let (answer, receiver) = tokio::sync::oneshot::channel();
        let job: Job = Box::new(move || drop(answer.send(job())));
        if let Err(TrySendError::Full(_)) = self.queue.try_send(job) {
            tracing::error!(limit = MAX_WAITING, "executor.full");
        }
        receiver
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        // The lock is held while waiting; the other threads then wait for the lock instead of for a job.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // A panic in a library must not cost the thread. Whoever waits sees its sender dropped.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            tracing::error!("executor.job_panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panicking_job_costs_its_answer_and_not_the_thread() {
        let executor = Executor::new(1).unwrap();
        assert!(executor.run(|| panic!("on purpose")).await.is_err());
        assert_eq!(executor.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_instead_of_growing() {
        let executor = Executor::new(1).unwrap();
        let (release, gate) = sync_channel::<()>(0);
        let (started, start) = sync_channel::<()>(1);
        let first = executor.run(move || {
            started.send(()).unwrap();
            assert!(gate.recv().is_err(), "the other end is dropped");
        });
        start.recv().unwrap();
        let waiting: Vec<_> = (0..MAX_WAITING + 2).map(|n| executor.run(move || n)).collect();
        drop(release);
        first.await.unwrap();
        let mut refused = 0;
        for answer in waiting {
            refused += usize::from(answer.await.is_err());
        }
        assert_eq!(refused, 2);
    }
}
