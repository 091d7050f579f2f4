//! What a board is asked, one request after the other: it holds no more than one, and may listen for a short while after each
//! sample only, from when it has told and kept all of it. So a question is repeated for that while, and then waits for the next
//! sample.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use flowcast_core::wire::{PROTOCOL, Reply, Request};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often a question is asked.
const TRIES: u32 = 10;
/// How long an account of the board stays new.
const STATS_AFTER: Duration = Duration::from_secs(60);

/// The questions.
#[derive(Debug, Default)]
pub struct Ask {
    waiting: VecDeque<Request>,
    /// What is asked, when it was last, and how often.
    flying: Option<(Request, Instant, u32)>,
    greeted: bool,
    stats: Option<Instant>,
}

impl Ask {
    /// Wants this to be asked, unless it is already.
    pub fn want(&mut self, request: Request) {
        let flies = self.flying.as_ref().is_some_and(|(flying, ..)| *flying == request);
        if !flies && !self.waiting.contains(&request) {
            self.waiting.push_back(request);
        }
    }

    /// The board is there to be asked: it was just heard, or the line was just opened.
    pub fn heard(&mut self, now: Instant) {
        if !self.greeted {
            self.want(Request::Hello { protocol: PROTOCOL });
        }
        if self.stats.is_none_or(|told| now - told >= STATS_AFTER) {
            self.want(Request::Stats);
        }
    }

    /// Another board may be at the line now, or the same from its start.
    pub fn anew(&mut self) {
        *self = Self::default();
    }

    /// Looks at what came.
    pub fn see(&mut self, reply: &Reply, now: Instant) {
        let answered = match (reply, self.flying.as_ref().map(|(request, ..)| request)) {
            (Reply::Hello(_), flying) => {
                self.greeted = true;
                matches!(flying, Some(Request::Hello { .. }))
            }
            (Reply::Stats(_), flying) => {
                self.stats = Some(now);
                matches!(flying, Some(Request::Stats))
            }
            (Reply::Observed(_), Some(Request::Reports { .. })) => true,
            (Reply::Refused(_), Some(_)) => true,
            _ => false,
        };
        if answered {
            self.flying = None;
        }
    }

    /// What is to be sent now.
    pub fn next(&mut self, now: Instant) -> Option<Request> {
        if let Some((request, sent, tries)) = &mut self.flying {
            if now - *sent < PATIENCE {
                return None;
            }
            if *tries < TRIES {
                (*sent, *tries) = (now, *tries + 1);
                return Some(request.clone());
            }
            // Nobody answers: whatever is still wanted is asked for when the board is heard again.
            self.flying = None;
            self.waiting.clear();
            return None;
        }
        let request = self.waiting.pop_front()?;
        self.flying = Some((request.clone(), now, 1));
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowcast_core::wire::{Observed, Refusal};

    #[test]
    fn one_question_flies_at_a_time_and_silence_ends_them_all() {
        let (mut ask, start) = (Ask::default(), Instant::now());
        ask.heard(start);
        ask.heard(start);
        assert_eq!(ask.next(start), Some(Request::Hello { protocol: PROTOCOL }));
        assert_eq!(ask.next(start), None);
        ask.see(&Reply::Refused(Refusal::NoGate), start);
        assert_eq!(ask.next(start), Some(Request::Stats));
        let times = (1..TRIES).map(|time| start + time * PATIENCE);
        times.for_each(|time| assert_eq!([ask.next(time), ask.next(time)], [Some(Request::Stats), None]));
        let late = start + TRIES * PATIENCE;
        assert_eq!((ask.next(late), ask.next(late)), (None, None));
        // Heard again, it is asked again; reports are asked for first where they are wanted first.
        let after = Some(7);
        ask.want(Request::Reports { after });
        ask.heard(late);
        assert_eq!(ask.next(late), Some(Request::Reports { after }));
        ask.want(Request::Reports { after });
        ask.see(&Reply::Observed(Observed { index: 9, instructions: None, ready: true }), late);
        assert_eq!(ask.next(late), Some(Request::Hello { protocol: PROTOCOL }));
    }
}
