//! Carrying one execution out: the handler runs as a task of its own, so that whatever it does (return, panic, hang, ignore
//! being stopped) becomes one of the ends that the state table knows.

use std::{any::Any, time::Duration};

use tokio::{task::JoinError, time::timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{backoff::pause, finish::Close};
use crate::{
    execution::{Effects, Stop},
    fault::{Failure, Fault},
};

/// How the handler's task came to its end.
#[derive(Debug)]
pub(super) enum End {
    Returned(Box<Result<Effects, Failure>>),
    Panicked(String),
    /// It didn't stop when told to, and was stopped.
    Aborted,
    /// Not even that helped: something of it may still be running.
    Unstoppable,
}

/// Waits for the handler. When the deadline has passed, `on_deadline` is to cancel `cancelled`. How long it may take to
/// stop then is asked when it is told to: its lease may be about to end.
pub(super) async fn supervise(
    mut work: AbortOnDropHandle<Result<Effects, Failure>>,
    cancelled: &CancellationToken,
    deadline: Duration,
    on_deadline: impl FnOnce(),
    clean_up: impl FnOnce() -> Duration,
) -> End {
    tokio::select! {
        done = &mut work => return end_of(done),
        () = cancelled.cancelled() => {}
        () = pause(deadline) => on_deadline(),
    }
    let clean_up = clean_up();
    if let Ok(done) = timeout(clean_up, &mut work).await {
        return end_of(done);
    }
    work.abort();
    match timeout(clean_up, &mut work).await {
        Ok(done) => end_of(done),
        Err(_) => End::Unstoppable,
    }
}

fn end_of(done: Result<Result<Effects, Failure>, JoinError>) -> End {
    match done {
        Ok(result) => End::Returned(Box::new(result)),
        Err(error) => match error.try_into_panic() {
            Ok(payload) => End::Panicked(panic_text(&*payload)),
            Err(_) => End::Aborted,
        },
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}

/// What the end of the work means, given why it was told to stop, if it was. `None`: nothing may be written, or nothing is
/// known for sure; the lease runs out and the reaper says so.
pub(super) fn verdict(end: End, stop: Option<Stop>) -> Option<Close> {
    match end {
        End::Returned(result) => match *result {
            // Finished work is published whatever was asked meanwhile. The fence decides about a lost lease.
            Ok(effects) => Some(Close::Done(Box::new(effects))),
            Err(failure) => failed(failure, stop),
        },
        End::Panicked(text) => failed(panicked(&text), stop.filter(|why| *why == Stop::Lost)),
        End::Aborted => failed(aborted(), stop),
        End::Unstoppable => None,
    }
}

fn failed(failure: Failure, stop: Option<Stop>) -> Option<Close> {
    match (failure.fault, stop) {
        (Fault::LeaseLost, _) | (_, Some(Stop::Lost)) => None,
        (Fault::Cancelled | Fault::Transient, Some(Stop::Shutdown)) => Some(Close::Released),
        (Fault::Cancelled, Some(Stop::Requested)) => Some(Close::Cancelled(failure)),
        (Fault::Cancelled | Fault::Transient, Some(Stop::Deadline)) => {
            Some(Close::Failed(overdue(&failure)))
        }
        // Nobody asked it to stop: a part of it was cancelled by another's failure.
        (Fault::Cancelled, None) => Some(Close::Failed(Failure {
            fault: Fault::Transient,
            ..failure
        })),
        (Fault::Permanent, _) | (Fault::Transient, Some(Stop::Requested) | None) => {
            Some(Close::Failed(failure))
        }
    }
}

fn panicked(text: &str) -> Failure {
    Failure::new(
        Fault::Transient,
        "handler.panicked",
        format!("the handler panicked: {text}"),
    )
}

fn aborted() -> Failure {
    Failure::new(
        Fault::Cancelled,
        "handler.aborted",
        "the handler did not stop when told to, and was aborted",
    )
}

fn overdue(failure: &Failure) -> Failure {
    Failure::new(
        Fault::Transient,
        "execution.deadline",
        format!("the execution took too long: {failure}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(fault: Fault) -> End {
        End::Returned(Box::new(Err(Failure::new(fault, "x.y", "x"))))
    }

    #[test]
    fn only_a_shutdown_gives_an_attempt_back() {
        for stop in [
            None,
            Some(Stop::Requested),
            Some(Stop::Deadline),
            Some(Stop::Lost),
        ] {
            for fault in Fault::ALL {
                let close = verdict(failure(fault), stop);
                assert!(
                    !matches!(close, Some(Close::Released)),
                    "{fault} after {stop:?}"
                );
            }
        }
        assert!(matches!(
            verdict(failure(Fault::Cancelled), Some(Stop::Shutdown)),
            Some(Close::Released)
        ));
        assert!(matches!(
            verdict(failure(Fault::Permanent), Some(Stop::Shutdown)),
            Some(Close::Failed(_))
        ));
    }

    #[test]
    fn nothing_is_written_when_the_lease_is_lost_or_the_handler_still_runs() {
        assert!(verdict(failure(Fault::Transient), Some(Stop::Lost)).is_none());
        assert!(verdict(failure(Fault::LeaseLost), None).is_none());
        assert!(verdict(End::Aborted, Some(Stop::Lost)).is_none());
        assert!(verdict(End::Unstoppable, Some(Stop::Requested)).is_none());
    }

    #[test]
    fn finished_work_is_published_whatever_was_asked_meanwhile() {
        for stop in [
            None,
            Some(Stop::Requested),
            Some(Stop::Shutdown),
            Some(Stop::Deadline),
        ] {
            let close = verdict(End::Returned(Box::new(Ok(Effects::default()))), stop);
            assert!(matches!(close, Some(Close::Done(_))), "{stop:?}");
        }
    }

    #[test]
    fn being_cancelled_by_nobody_is_an_ordinary_failure() {
        let Some(Close::Failed(failure)) = verdict(failure(Fault::Cancelled), None) else {
            panic!("not failed");
        };
        assert_eq!(failure.fault, Fault::Transient);
    }
}
