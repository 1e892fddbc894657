//! Waiting in WASI without an asynchronous runtime.
//!
//! wasmtime's synchronous WASI enters tokio for whatever might block, and panics when the thread is a
//! worker of a runtime already. Nothing that is linked here needs tokio: output is taken at once, input
//! is at its end, and timers only compare clocks. So the same operations run under an executor of a few
//! lines, on whichever thread the guest was called on, and end with the deadline of the call.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use wasmtime::Result;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::bindings::io::poll as waiting_poll;
use wasmtime_wasi::p2::bindings::io::streams as waiting_streams;
use wasmtime_wasi::p2::bindings::sync::io::{poll, streams};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, Pollable, StreamError, StreamResult, subscribe};

use crate::wasi::Overslept;

/// The first pause of a wait, which doubles up to the longest: a timer is late by that at the most.
const PAUSES: (Duration, Duration) = (Duration::from_micros(20), Duration::from_millis(1));

/// An instance's resources, and the time that its call has left.
pub(super) struct Table<'a> {
    pub(super) table: &'a mut ResourceTable,
    pub(super) left: Duration,
    /// Where the instance's clock begins.
    pub(super) origin: Instant,
}

/// Says to wasmtime what [`Table`] borrows from.
pub(super) struct Tables;

impl HasData for Tables {
    type Data<'a> = Table<'a>;
}

/// Runs a future to its end, or until there is no time left.
fn wait<T>(left: Duration, future: impl Future<Output = T>) -> Result<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let started = Instant::now();
    let (mut pause, longest) = PAUSES;
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Ok(value);
        }
        let left = left.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(wasmtime::Error::new(Overslept));
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(longest);
    }
}

/// As [`wait`], for what answers with a stream's error.
fn wait_stream<T>(left: Duration, future: impl Future<Output = StreamResult<T>>) -> StreamResult<T> {
    wait(left, future).map_err(StreamError::Trap)?
}

/// A moment at which a wait ends.
struct Timer(Option<Instant>);

#[async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        let until = self.0;
        std::future::poll_fn(|_| {
            if until.is_some_and(|until| Instant::now() >= until) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Table<'_> {
    fn timer(&mut self, after: u64) -> Result<Resource<DynPollable>> {
        // One that is too far in the future to be told never ends.
        let timer = self.table.push(Timer(Instant::now().checked_add(Duration::from_nanos(after))))?;
        subscribe(self.table, timer)
    }
}

impl monotonic_clock::Host for Table<'_> {
    fn now(&mut self) -> Result<u64> {
        Ok(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn resolution(&mut self) -> Result<u64> {
        Ok(1)
    }

    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<DynPollable>> {
        let now = self.now()?;
        self.timer(when.saturating_sub(now))
    }

    fn subscribe_duration(&mut self, duration: u64) -> Result<Resource<DynPollable>> {
        self.timer(duration)
    }
}

impl poll::Host for Table<'_> {
    fn poll(&mut self, list: Vec<Resource<DynPollable>>) -> Result<Vec<u32>> {
        wait(self.left, waiting_poll::Host::poll(self.table, list))?
    }
}

impl poll::HostPollable for Table<'_> {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> Result<bool> {
        wait(self.left, waiting_poll::HostPollable::ready(self.table, pollable))?
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        wait(self.left, waiting_poll::HostPollable::block(self.table, pollable))?
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        waiting_poll::HostPollable::drop(self.table, pollable)
    }
}

impl streams::Host for Table<'_> {
    fn convert_stream_error(&mut self, error: StreamError) -> Result<streams::StreamError> {
        streams::Host::convert_stream_error(self.table, error)
    }
}

impl streams::HostInputStream for Table<'_> {
    fn read(&mut self, stream: Resource<DynInputStream>, length: u64) -> StreamResult<Vec<u8>> {
        waiting_streams::HostInputStream::read(self.table, stream, length)
    }

    fn blocking_read(&mut self, stream: Resource<DynInputStream>, length: u64) -> StreamResult<Vec<u8>> {
        wait_stream(self.left, waiting_streams::HostInputStream::blocking_read(self.table, stream, length))
    }

    fn skip(&mut self, stream: Resource<DynInputStream>, length: u64) -> StreamResult<u64> {
        waiting_streams::HostInputStream::skip(self.table, stream, length)
    }

    fn blocking_skip(&mut self, stream: Resource<DynInputStream>, length: u64) -> StreamResult<u64> {
        wait_stream(self.left, waiting_streams::HostInputStream::blocking_skip(self.table, stream, length))
    }

    fn subscribe(&mut self, stream: Resource<DynInputStream>) -> Result<Resource<DynPollable>> {
        waiting_streams::HostInputStream::subscribe(self.table, stream)
    }

    fn drop(&mut self, stream: Resource<DynInputStream>) -> Result<()> {
        wait(self.left, waiting_streams::HostInputStream::drop(self.table, stream))?
    }
}

impl streams::HostOutputStream for Table<'_> {
    fn check_write(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<u64> {
        waiting_streams::HostOutputStream::check_write(self.table, stream)
    }

    fn write(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        waiting_streams::HostOutputStream::write(self.table, stream, bytes)
    }

    fn blocking_write_and_flush(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        let writing = waiting_streams::HostOutputStream::blocking_write_and_flush(self.table, stream, bytes);
        wait_stream(self.left, writing)
    }

    fn flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        waiting_streams::HostOutputStream::flush(self.table, stream)
    }

    fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        wait_stream(self.left, waiting_streams::HostOutputStream::blocking_flush(self.table, stream))
    }

    fn subscribe(&mut self, stream: Resource<DynOutputStream>) -> Result<Resource<DynPollable>> {
        waiting_streams::HostOutputStream::subscribe(self.table, stream)
    }

    fn write_zeroes(&mut self, stream: Resource<DynOutputStream>, length: u64) -> StreamResult<()> {
        waiting_streams::HostOutputStream::write_zeroes(self.table, stream, length)
    }

    fn blocking_write_zeroes_and_flush(&mut self, stream: Resource<DynOutputStream>, length: u64) -> StreamResult<()> {
        let writing = waiting_streams::HostOutputStream::blocking_write_zeroes_and_flush(self.table, stream, length);
        wait_stream(self.left, writing)
    }

    fn splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        length: u64,
    ) -> StreamResult<u64> {
        waiting_streams::HostOutputStream::splice(self.table, to, from, length)
    }

    fn blocking_splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        length: u64,
    ) -> StreamResult<u64> {
        wait_stream(self.left, waiting_streams::HostOutputStream::blocking_splice(self.table, to, from, length))
    }

    fn drop(&mut self, stream: Resource<DynOutputStream>) -> Result<()> {
        wait(self.left, waiting_streams::HostOutputStream::drop(self.table, stream))?
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_what_it_waits_for_or_with_its_time() {
        assert_eq!(wait(Duration::ZERO, async { 7 }).unwrap(), 7);
        let long = Duration::from_secs(60);
        let mut timer = Timer(Some(Instant::now() + Duration::from_millis(2)));
        wait(long, timer.ready()).unwrap();
        let started = Instant::now();
        let endless = wait(Duration::from_millis(5), Timer(None).ready()).unwrap_err();
        assert!(endless.is::<Overslept>() && started.elapsed() < long);
    }
}
