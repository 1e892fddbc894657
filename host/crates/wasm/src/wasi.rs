//! The part of WASI 0.2 that toolchains for Go, Python and JavaScript always import.
//!
//! There is nothing behind it: no argument, no environment variable, no preopened directory, no
//! socket, no name look-up. Standard output and standard error become lines of the log. The only thing
//! on which it could wait is a timer, and that wait ends with the deadline of the call. Nothing of it
//! needs an asynchronous runtime or a thread of its own, see [`wait`].

mod wait;

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily};
use wasmtime_wasi::p2::bindings::sync::io::{poll, streams};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult, UdpSocket};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView, async_trait};

use self::wait::{Table, Tables};
use crate::logbook::{LogLevel, Logbook, MAX_LINE, cut};
use crate::state::State;

/// The interface that wasmtime-wasi links under this name; a test notices when the name changes.
const UDP: &str = "wasi:sockets/udp-create-socket@0.2.12";

/// Random bytes that one call may ask for.
const MAX_RANDOM: u64 = 65_536;

/// Resources that an instance may hold at the same time.
const MAX_RESOURCES: usize = 10_000;

/// What WASI knows of an instance.
pub(crate) struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
    /// Where its monotonic clock begins.
    origin: Instant,
}

/// The host waited for the guest until its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overslept;

impl std::fmt::Display for Overslept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("slept past its deadline")
    }
}

impl std::error::Error for Overslept {}

impl Wasi {
    fn new(logbook: &Logbook) -> Self {
        let context = WasiCtx::builder()
            .stdout(Lines::new(logbook, LogLevel::Info))
            .stderr(Lines::new(logbook, LogLevel::Warn))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(MAX_RANDOM)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        Self { context, table, origin: Instant::now() }
    }
}

impl State {
    fn wasi(&mut self) -> &mut Wasi {
        self.wasi.get_or_insert_with(|| Box::new(Wasi::new(&self.logbook)))
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi();
        WasiCtxView { ctx: &mut wasi.context, table: &mut wasi.table }
    }
}

/// Links WASI, with whatever could block replaced by what needs no runtime.
///
/// What wasmtime-wasi would still enter its own runtime for takes a file or a socket, and no guest ever
/// gets one: there is no directory to open files in, and no socket is made.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    poll::add_to_linker::<State, Tables>(linker, table)?;
    streams::add_to_linker::<State, Tables>(linker, table)?;
    monotonic_clock::add_to_linker::<State, Tables>(linker, table)?;
    linker.instance(UDP)?.func_wrap(
        "create-udp-socket",
        |_: StoreContextMut<'_, State>, (_,): (IpAddressFamily,)| {
            Ok((Err::<Resource<UdpSocket>, ErrorCode>(ErrorCode::AccessDenied),))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn table(state: &mut State) -> Table<'_> {
    let left = state.time_left();
    let wasi = state.wasi();
    Table { table: &mut wasi.table, left, origin: wasi.origin }
}

/// Standard output or standard error, as lines of the log.
#[derive(Clone)]
struct Lines {
    logbook: Logbook,
    level: LogLevel,
    /// The line that has not ended yet, at most [`MAX_LINE`] bytes.
    open: Arc<Mutex<Vec<u8>>>,
}

impl Lines {
    fn new(logbook: &Logbook, level: LogLevel) -> Self {
        Self { logbook: logbook.clone(), level, open: Arc::default() }
    }

    fn write(&self, bytes: &[u8]) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, tail) = rest.split_at(end);
            append(&mut open, line);
            self.flush(&mut open);
            rest = tail.get(1..).unwrap_or_default();
        }
        append(&mut open, rest);
    }

    fn flush(&self, open: &mut Vec<u8>) {
        if !open.is_empty() {
            self.logbook.write(self.level, cut(&String::from_utf8_lossy(open), MAX_LINE));
            open.clear();
        }
    }
}

/// Appends what still fits into a line.
fn append(open: &mut Vec<u8>, bytes: &[u8]) {
    let room = MAX_LINE.saturating_sub(open.len());
    open.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for Lines {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[async_trait]
impl Pollable for Lines {
    /// Writing never blocks.
    async fn ready(&mut self) {}
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        Lines::write(self, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(65_536)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logbook::Voice;

    #[test]
    fn output_becomes_lines_and_an_endless_line_is_cut() {
        let logbook = Logbook::new(Arc::new(Voice::new("p", "1.0.0", None)));
        let lines = Lines::new(&logbook, LogLevel::Info);
        lines.write(b"on");
        lines.write(b"e\n\ntwo\nthr");
        for _ in 0..100 {
            lines.write(&[b'e'; 1_000]);
        }
        lines.write(b"\n");
        let kept = logbook.last();
        assert_eq!(kept.iter().map(|line| line.len()).collect::<Vec<_>>(), [3, 3, MAX_LINE]);
    }
}
