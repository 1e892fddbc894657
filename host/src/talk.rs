//! What the program says on standard error: talk for people, and log lines.
//!
//! A command writes it as it says it. What serves must not wait for whoever reads it, such as a terminal that was stopped (Ctrl-S) or
//! a collector that hangs: there, a thread writes what a bounded buffer holds. What does not fit is missing, which is told in its place
//! as soon as somebody reads again, and counted at once.
//!
//! A library for this, `tracing-appender`, drops lines without a word, and takes nothing but lines of the log.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write, stderr};
use std::panic::PanicHookInfo;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::json;

/// Bytes that wait to be written: some thousand lines.
const MOST: usize = 1 << 20;

/// How long the end of the program waits for whoever reads.
const LAST: Duration = Duration::from_secs(1);

/// The metric that counts what is missing.
pub(crate) const DROPPED: &str = "proxywhirl_log_dropped_total";

/// What waits for the thread; nothing does where whoever speaks writes.
static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// Says a line, or several, in words for people. When standard error is closed, there is nobody left to tell.
pub fn tell(text: &str) {
    match QUEUE.get() {
        Some(queue) => queue.push(&queue.line(text)),
        None => drop(writeln!(stderr(), "{text}")),
    }
}

/// From now on, nobody who speaks waits for whoever reads. With `is_json`, what is said in words for people is an event of the log as
/// well.
///
/// # Errors
/// When there can be no thread for it.
pub fn queue(is_json: bool) -> io::Result<()> {
    let queue = Arc::new(Queue { is_json, ..Queue::default() });
    let written = Arc::clone(&queue);
    std::thread::Builder::new().name("log".to_owned()).spawn(move || written.write(stderr()))?;
    // Where there is one already, it goes on.
    if QUEUE.set(queue).is_ok() {
        // That of the standard library writes itself, and would wait.
        std::panic::set_hook(Box::new(|panicked| tell(&account(panicked))));
    }
    Ok(())
}

fn account(panicked: &PanicHookInfo<'_>) -> String {
    let (thread, backtrace) = (std::thread::current(), Backtrace::capture());
    let told = format!("error: thread '{}' {panicked}", thread.name().unwrap_or("<unnamed>"));
    if backtrace.status() == BacktraceStatus::Captured { format!("{told}\n{backtrace}") } else { told }
}

/// Has all be written that was said when it is dropped, unless nobody reads. Dropped last, so that no last word is lost.
#[derive(Debug)]
pub struct LastWords;

impl Drop for LastWords {
    fn drop(&mut self) {
        if let Some(queue) = QUEUE.get() {
            queue.finish(LAST);
        }
    }
}

/// Where the log writes: one line, or several, with each call.
#[derive(Debug, Clone, Copy)]
pub struct LogLines;

impl Write for LogLines {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        match QUEUE.get() {
            Some(queue) => {
                queue.push(lines);
                Ok(lines.len())
            }
            None => stderr().write(lines),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Queue {
    is_json: bool,
    /// Held for as long as it takes to copy a line.
    waiting: Mutex<Waiting>,
    /// Wakes the thread when there is something to write, and the end of the program when all is written.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    text: Vec<u8>,
    /// How often something was said after the text, and did not fit.
    missing: u64,
    /// Whether what was taken last is still being written.
    is_writing: bool,
}

impl Waiting {
    const fn is_empty(&self) -> bool {
        self.text.is_empty() && self.missing == 0
    }
}

impl Queue {
    fn push(&self, lines: &[u8]) {
        let mut waiting = self.waiting();
        // When something is missing, what follows is so too, until that is told in its place.
        let fits = waiting.missing == 0 && waiting.text.len() + lines.len() <= MOST;
        if fits {
            waiting.text.extend_from_slice(lines);
        } else {
            waiting.missing += 1;
        }
        drop(waiting);
        self.changed.notify_all();
        if !fits {
            metrics::counter!(DROPPED).increment(1);
        }
    }

    /// Writes what is said, for as long as the program runs.
    fn write(&self, mut out: impl Write) {
        loop {
            let (mut text, missing) = self.take();
            if missing > 0 {
                text.extend(
                    self.line(&format!("warning: {missing} lines are missing here: nobody has read them in time")),
                );
            }
            // When it is closed, there is nobody left to tell.
            drop(out.write_all(&text));
        }
    }

    /// Takes all that waits, as soon as there is something.
    fn take(&self) -> (Vec<u8>, u64) {
        let mut waiting = self.waiting();
        waiting.is_writing = false;
        self.changed.notify_all();
        let waited = self.changed.wait_while(waiting, |waiting| waiting.is_empty());
        let mut waiting = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.is_writing = true;
        (std::mem::take(&mut waiting.text), std::mem::take(&mut waiting.missing))
    }

    /// Waits until all is written, for so long at the most.
    fn finish(&self, limit: Duration) {
        let is_left = |waiting: &mut Waiting| waiting.is_writing || !waiting.is_empty();
        drop(self.changed.wait_timeout_while(self.waiting(), limit, is_left));
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, text: &str) -> Vec<u8> {
        if self.is_json { event(text) } else { format!("{text}\n") }.into_bytes()
    }
}

/// What is said in words for people, as the log has its events.
fn event(text: &str) -> String {
    let message = text.trim();
    let level = match message.split_once(':') {
        Some(("error", _)) => "ERROR",
        Some(("warning", _)) => "WARN",
        Some(_) | None => "INFO",
    };
    let at = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let event = json!({ "timestamp": at, "level": level, "fields": { "message": message }, "target": "proxywhirl" });
    format!("{event}\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};
    use std::time::Instant;

    use super::*;

    /// Who reads what is written, but nothing before it has begun.
    struct Reader {
        begins: Receiver<()>,
        read: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // It has begun when the other end is gone.
            self.begins.recv().ok();
            self.read.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_that_stalls_and_it_is_told_what_it_has_missed() {
        let (queue, read) = (Arc::new(Queue::default()), Arc::new(Mutex::new(Vec::new())));
        let (begin, begins) = sync_channel(1);
        let reader = Reader { begins, read: Arc::clone(&read) };
        let writing = Arc::clone(&queue);
        std::thread::spawn(move || writing.write(reader));
        queue.push(b"first\n");
        while !queue.waiting().is_writing {
            std::thread::yield_now();
        }
        let line = [vec![b'x'; 1_023], vec![b'\n']].concat();
        for _ in 0..MOST / line.len() + 2 {
            queue.push(&line);
        }
        queue.push(b"short\n");
        let began = Instant::now();
        queue.finish(Duration::from_millis(20));
        assert!(began.elapsed() < Duration::from_secs(30), "the end waits for a reader that stalls");

        drop(begin);
        queue.finish(Duration::from_secs(60));
        queue.push(b"after\n");
        queue.finish(Duration::from_secs(60));
        let read = String::from_utf8(read.lock().unwrap().clone()).unwrap();
        assert!(read.starts_with("first\nxxx"), "{}", &read[..20]);
        assert_eq!(read.lines().filter(|line| line.starts_with('x')).count(), MOST / line.len());
        let last: Vec<_> = read.lines().rev().take(2).collect();
        assert_eq!(last, ["after", "warning: 3 lines are missing here: nobody has read them in time"]);
    }

    #[test]
    fn talk_is_an_event_where_the_log_is_json() {
        let queue = Queue { is_json: true, ..Queue::default() };
        let level = |text: &str| {
            let line = String::from_utf8(queue.line(text)).unwrap();
            let event: serde_json::Value = serde_json::from_str(line.trim_end()).unwrap();
            assert_eq!(event["fields"]["message"], text.trim());
            assert!(event["timestamp"].as_str().unwrap().ends_with('Z') && line.matches('\n').count() == 1, "{line}");
            event["level"].as_str().unwrap().to_owned()
        };
        let told = ["  line 3: \"no port\"", "  warning: not complete", "error: no\n\nhint: yes"].map(level);
        assert_eq!(told, ["INFO", "WARN", "ERROR"]);
    }
}
