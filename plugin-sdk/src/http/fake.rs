//! A server for tests, one for each thread: it records requests, and answers as it was told. Only off
//! WebAssembly.

use super::{Error, Request, Response};
use std::cell::RefCell;
use std::collections::VecDeque;

/// Requests kept, so that a test that loops does not fill the memory.
const KEPT: usize = 10_000;

/// What the host allows a body to have.
const MAX_BODY: usize = 1_048_576;

type Answer = Result<Response, Error>;

#[derive(Debug, Default)]
struct Server {
    requests: Vec<Request>,
    next: VecDeque<Answer>,
    otherwise: Option<Answer>,
}

thread_local! {
    static SERVER: RefCell<Server> = RefCell::default();
}

/// Forgets requests and answers. Without an answer, every request is denied.
pub fn reset() {
    SERVER.take();
}

/// The answer to the next request that has none yet.
pub fn answer_next(answer: Result<Response, Error>) {
    SERVER.with_borrow_mut(|server| server.next.push_back(answer));
}

/// The answer to every request that has no other.
pub fn answer_always(answer: Result<Response, Error>) {
    SERVER.with_borrow_mut(|server| server.otherwise = Some(answer));
}

/// The requests since the last call.
#[must_use]
pub fn take() -> Vec<Request> {
    SERVER.with_borrow_mut(|server| std::mem::take(&mut server.requests))
}

pub(super) fn send(request: Request) -> Answer {
    if request.body.len() > MAX_BODY {
        return Err(Error::Invalid(format!("body of {} bytes", request.body.len())));
    }
    SERVER.with_borrow_mut(|server| {
        if server.requests.len() < KEPT {
            server.requests.push(request);
        }
        let answer = server.next.pop_front().or_else(|| server.otherwise.clone());
        answer.unwrap_or_else(|| Err(Error::Denied("the fake server has no answer".to_owned())))
    })
}

#[cfg(test)]
mod tests {
    use super::super::send;
    use super::*;

    #[test]
    fn requests_are_recorded_and_get_the_answers_in_order() {
        reset();
        answer_next(Err(Error::Timeout));
        answer_always(Ok(Response::of_status(204)));
        let request = Request::post("https://hooks.example/", b"{}".to_vec()).header("A", "b");
        assert_eq!(send(request.clone()), Err(Error::Timeout));
        assert!(send(Request::get("https://hooks.example/")).is_ok_and(|answer| answer.is_success()));
        assert_eq!(take().first(), Some(&request));
        assert!(take().is_empty());
    }

    #[test]
    fn without_an_answer_a_request_is_denied() {
        reset();
        assert!(matches!(send(Request::get("https://hooks.example/")), Err(Error::Denied(_))));
    }
}
