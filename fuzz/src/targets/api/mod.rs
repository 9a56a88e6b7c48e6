//! Sequences of C calls, in any order and with any arguments but handles that were freed and memory that is not there: each
//! call gives a status that its page in the header names, and a message where it fails.

mod arguments;
mod calls;
mod check;
mod session;
pub mod set_up;

use super::Target;
use arguments::Choices;
use calls::CALLS;
use session::Session;
use set_up::Files;

/// Calls of a sequence; each takes some bytes of the input.
const MOST: usize = 48;

/// Each input is a sequence: a byte for a call, then some for its arguments.
pub(super) fn sequences() -> Target {
    let files = Files::new();
    Box::new(move |bytes| {
        files.clear();
        let mut choices = Choices::new(bytes);
        let mut session = Session::new(&files);
        for _ in 0..MOST {
            let Some(call) = choices.next() else { break };
            CALLS[usize::from(call) % CALLS.len()](&mut session, &mut choices);
        }
        session.end(&mut choices);
    })
}
