//! The host's side done with the standard library: real files, real programs, real processes, real
//! sockets.
//!
//! For tests of a plugin's logic. It is as strict as the real host where a plugin could go wrong
//! unnoticed: writing in the read phase is refused, memory has its limit, an environment is empty.
//! It knows no grants.

mod container;
mod files;
mod process;
mod program;

use crate::failure::{Code, Failure, Labels};
use crate::host::{Command, Connection, Context, Entry, Host, Level, Output, Process, Secret};
use crate::http::Socket;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

/// All keys and values of the memory together.
const MAX_MEMORY_BYTES: usize = 64 * 1024;

/// The real thing, without grants.
#[derive(Debug)]
pub struct NativeHost {
    service: String,
    environment: String,
    labels: Labels,
    config: String,
    write: Cell<bool>,
    memory: RefCell<BTreeMap<String, Vec<u8>>>,
    memory_writes: Cell<Option<u32>>,
    secrets: BTreeMap<String, String>,
    messages: RefCell<Vec<(Level, String)>>,
    engine: container::Engine,
}

impl NativeHost {
    /// A host for one service and environment, in the read phase.
    pub fn new(service: &str, environment: &str) -> Self {
        Self {
            service: service.into(),
            environment: environment.into(),
            labels: Labels::new(),
            config: "{}".into(),
            write: Cell::new(false),
            memory: RefCell::default(),
            memory_writes: Cell::new(None),
            secrets: BTreeMap::new(),
            messages: RefCell::default(),
            engine: container::Engine::default(),
        }
    }

    /// Sets the plugin's section of the manifest.
    #[must_use]
    pub fn with_config(mut self, json: impl Into<String>) -> Self {
        self.config = json.into();
        self
    }

    /// Adds a label to the context, such as `store`.
    #[must_use]
    pub fn with_label(mut self, name: &str, value: &str) -> Self {
        self.labels.push((name.into(), value.into()));
        self
    }

    /// Adds a secret.
    #[must_use]
    pub fn with_secret(mut self, name: &str, value: &str) -> Self {
        self.secrets.insert(name.into(), value.into());
        self
    }

    /// Asks the Docker Engine behind this socket about containers.
    #[must_use]
    pub fn with_docker(mut self, socket: &str) -> Self {
        self.engine.socket = Some(socket.into());
        self
    }

    /// Runs one operation in the write phase.
    pub fn writing<T>(&self, operation: impl FnOnce(&Self) -> T) -> T {
        self.write.set(true);
        let result = operation(self);
        self.write.set(false);
        result
    }

    /// Takes what was logged so far.
    pub fn messages(&self) -> Vec<(Level, String)> {
        self.messages.take()
    }

    /// Forgets everything, as a host whose store was lost does.
    pub fn forget(&self) {
        self.memory.borrow_mut().clear();
    }

    /// Takes so many more values into the memory and refuses the next, as a host whose store is
    /// full does; none takes all.
    pub fn limit_memory_writes(&self, writes: Option<u32>) {
        self.memory_writes.set(writes);
    }

    fn writable(&self, effect: &str) -> Result<(), Failure> {
        if self.write.get() {
            Ok(())
        } else {
            Err(Failure::new(
                Code::Denied,
                format!("{effect} is a write, but this operation is read-only"),
            ))
        }
    }
}

/// A secret that stands for itself.
#[derive(Debug)]
pub struct NativeSecret {
    name: String,
    value: String,
}

impl Secret for NativeSecret {
    fn placeholder(&self) -> String {
        format!("placeholder-of-{}", self.name)
    }

    fn reveal(&self) -> Result<String, Failure> {
        Ok(self.value.clone())
    }
}

impl Host for NativeHost {
    type Stream = Socket;
    type Secret = NativeSecret;

    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let mut text = message.to_owned();
        for (name, value) in fields {
            text.push_str(&[" ", name, "=", value].concat());
        }
        self.messages.borrow_mut().push((level, text));
    }

    fn progress(&self, _percent: Option<u8>, note: &str) {
        self.messages.borrow_mut().push((Level::Info, note.into()));
    }

    fn context(&self) -> Context {
        Context {
            deployment: String::new(),
            service: self.service.clone(),
            environment: self.environment.clone(),
            write: self.write.get(),
            remaining: Duration::from_mins(1),
            labels: self.labels.clone(),
        }
    }

    fn cancelled(&self) -> bool {
        false
    }

    fn config(&self) -> String {
        self.config.clone()
    }

    fn memory_get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.memory.borrow().get(key).cloned())
    }

    fn memory_set(&self, key: &str, value: Option<&[u8]>) -> Result<(), Failure> {
        match self.memory_writes.get() {
            Some(0) => return Err(Failure::new(Code::Failed, "the memory can't be written")),
            left => self.memory_writes.set(left.map(|left| left - 1)),
        }
        let mut memory = self.memory.borrow_mut();
        let Some(value) = value else {
            memory.remove(key);
            return Ok(());
        };
        let others: usize = memory
            .iter()
            .filter(|(other, _)| *other != key)
            .map(|(other, held)| other.len() + held.len())
            .sum();
        if others + key.len() + value.len() > MAX_MEMORY_BYTES {
            return Err(Failure::new(
                Code::Denied,
                format!("the memory holds {MAX_MEMORY_BYTES} bytes at most"),
            ));
        }
        memory.insert(key.into(), value.into());
        Ok(())
    }

    fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        files::read(path)
    }

    fn stat(&self, path: &str) -> Result<Option<Entry>, Failure> {
        files::stat(path)
    }

    fn list_folder(&self, path: &str) -> Result<Vec<Entry>, Failure> {
        files::list(path)
    }

    fn replace_file(&self, path: &str, bytes: &[u8], mode: u32) -> Result<(), Failure> {
        self.writable("replacing a file")?;
        files::replace(path, bytes, mode)
    }

    fn remove_file(&self, path: &str) -> Result<bool, Failure> {
        self.writable("removing a file")?;
        files::remove(path)
    }

    fn connect(&self, host: &str, port: u16, timeout: Duration) -> Result<Self::Stream, Failure> {
        Socket::connect(host, port, timeout)
    }

    fn secret(&self, name: &str) -> Result<Self::Secret, Failure> {
        let value = self.secrets.get(name).cloned().ok_or_else(|| {
            Failure::new(Code::Denied, format!("the secret `{name}` is not granted"))
        })?;
        Ok(NativeSecret { name: name.into(), value })
    }

    fn run(&self, command: &Command) -> Result<Output, Failure> {
        program::run(&self.engine, command)
    }

    fn process_tree(&self, of: &str) -> Result<Vec<Process>, Failure> {
        process::tree(&self.engine, of)
    }

    fn connections(&self, of: &str) -> Result<Vec<Connection>, Failure> {
        process::connections(&self.engine, of)
    }

    fn signal(&self, of: &str, signal: &str) -> Result<(), Failure> {
        self.writable("sending a signal")?;
        process::signal(&self.engine, of, signal)
    }

    fn log_mark(&self, path: &str) -> Result<u64, Failure> {
        match path.strip_prefix("container:") {
            Some(name) => self.engine.log_mark(name),
            None => files::log_mark(path),
        }
    }

    fn log_since(&self, path: &str, mark: u64, max_bytes: u32) -> Result<Vec<u8>, Failure> {
        match path.strip_prefix("container:") {
            Some(name) => self.engine.log_since(name, mark, max_bytes),
            None => files::log_since(path, mark, max_bytes),
        }
    }
}
