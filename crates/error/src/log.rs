/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For those who look for a fault.
    Debug,
    /// What an operator may like to know.
    Info,
    /// A request failed, or something is not as it should be.
    Warn,
    /// A service failed.
    Error,
}

/// Where log lines go. Implementations never block: lines come from the data path.
pub trait Log: Send + Sync + 'static {
    /// Takes one line, without its line end.
    fn log(&self, level: Level, line: &str);

    /// Whether lines of this level are wanted; saves making those that are not.
    fn enabled(&self, level: Level) -> bool {
        let _ = level;
        true
    }
}

/// A log that drops every line.
pub struct NoLog;

impl Log for NoLog {
    fn log(&self, _level: Level, _line: &str) {}

    fn enabled(&self, _level: Level) -> bool {
        false
    }
}
