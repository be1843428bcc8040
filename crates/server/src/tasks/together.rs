//! The same for many at once: what each commits shares the disk's time with what the others do.

use tokio::task::JoinSet;

use super::PassError;

/// So many run at once: a commit takes many together, and a pass holds no more than these in memory.
const AT_ONCE: usize = 64;

/// Runs a job for each, some at a time, and answers what all of them say. One that fails stops none of the others.
///
/// # Errors
/// The first error, once all have ended.
pub(super) async fn together<I, T, F>(
    all: impl IntoIterator<Item = I>,
    job: impl Fn(I) -> F,
) -> Result<Vec<T>, PassError>
where
    F: Future<Output = Result<T, PassError>> + Send + 'static,
    T: Send + 'static,
{
    let mut running = JoinSet::new();
    let mut said = Vec::new();
    let mut first = None;
    let mut take = |done: Result<Result<T, PassError>, tokio::task::JoinError>| match done {
        Ok(Ok(one)) => said.push(one),
        Ok(Err(error)) => drop(first.get_or_insert(error)),
        Err(error) => drop(first.get_or_insert(PassError::Broken(error))),
    };
    for one in all {
        if running.len() >= AT_ONCE
            && let Some(done) = running.join_next().await
        {
            take(done);
        }
        running.spawn(job(one));
    }
    while let Some(done) = running.join_next().await {
        take(done);
    }
    match first {
        Some(error) => Err(error),
        None => Ok(said),
    }
}
