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

impl Level {
    /// The word for it in logs and in the public API.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// What a line says, by name: for those who keep logs as data.
pub type Fields<'a> = &'a [(&'static str, Value<'a>)];

/// A thing that a line says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A text; of numbers that only name something as well.
    Text(&'a str),
    /// A number that counts or measures something.
    Number(f64),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(text)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Value::Number(f64::from(number))
    }
}

/// Where log lines go. Implementations never block: lines come from the data path.
pub trait Log: Send + Sync + 'static {
    /// Takes one line, without its line end.
    fn log(&self, level: Level, line: &str);

    /// Takes a line with what it says, for those who want that apart. The line has all that people need.
    fn log_with(&self, level: Level, line: &str, fields: Fields<'_>) {
        let _ = fields;
        self.log(level, line);
    }

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
