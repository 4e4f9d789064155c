//! The language of scripts: steps with blanks between them, `word[:argument][@attempt]`, for instance
//! `sleep:300 effect fail@1`. A step with an attempt is taken in that attempt only. Whoever reaches the end succeeds.

use std::time::Duration;

/// What a handler does in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Works for so long, and stops when told to.
    Sleep(Duration),
    /// Works for so long, deaf to being told to stop.
    Stubborn(Duration),
    /// Works for so long and keeps its thread, so that not even aborting helps.
    Block(Duration),
    /// Never ends by itself, deaf.
    Hang,
    /// Waits for the suite to make the gate of this name, and stops when told to.
    Gate(String),
    /// Waits for the gate, deaf.
    DeafGate(String),
    /// Touches the world under the lease.
    Effect,
    Fail,
    FailPermanently,
    Panic,
    /// Takes the process along.
    Abort,
    /// Success is followed by another job.
    Follow,
    /// Success is claimed without asking for the lease.
    Careless,
}

/// Lets time pass; a script's sleeping is its work.
#[expect(
    clippy::disallowed_methods,
    reason = "time is what scripts are made of"
)]
pub(crate) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// The steps of an attempt; an error names the step that is none.
pub(crate) fn steps(script: &str, attempt: i16) -> Result<Vec<Deed>, String> {
    let mut deeds = Vec::new();
    for word in script.split_whitespace() {
        let (word, only) = match word.split_once('@') {
            Some((word, only)) => (word, Some(only.parse::<i16>().map_err(|_| word)?)),
            None => (word, None),
        };
        let deed = deed(word).ok_or(word)?;
        if only.is_none_or(|only| only == attempt) {
            deeds.push(deed);
        }
    }
    Ok(deeds)
}

fn deed(word: &str) -> Option<Deed> {
    let (name, argument) = word.split_once(':').unwrap_or((word, ""));
    let time = || argument.parse().ok().map(Duration::from_millis);
    Some(match name {
        "sleep" => Deed::Sleep(time()?),
        "stubborn" => Deed::Stubborn(time()?),
        "block" => Deed::Block(time()?),
        "hang" => Deed::Hang,
        "gate" => Deed::Gate(argument.to_owned()),
        "deaf-gate" => Deed::DeafGate(argument.to_owned()),
        "effect" => Deed::Effect,
        "fail" => Deed::Fail,
        "fail-permanently" => Deed::FailPermanently,
        "panic" => Deed::Panic,
        "abort" => Deed::Abort,
        "follow" => Deed::Follow,
        "careless" => Deed::Careless,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_for_one_attempt_is_taken_in_that_attempt_alone() {
        let script = "sleep:5 fail@1 effect";
        let sleep = Deed::Sleep(Duration::from_millis(5));
        assert_eq!(
            steps(script, 1),
            Ok(vec![sleep.clone(), Deed::Fail, Deed::Effect])
        );
        assert_eq!(steps(script, 2), Ok(vec![sleep, Deed::Effect]));
    }

    #[test]
    fn a_word_that_is_no_step_is_named() {
        assert_eq!(steps("effect dance", 1), Err("dance".to_owned()));
    }
}
