//! Reading a backend's log: the newest lines for reports, a stream for people, and what is kept of
//! a retired one.

use crate::process::access;
use crate::process::directory::BackendDirectory;
use crate::process::log_file::LogFile;
use crate::process::mask::Mask;
use crate::process::record::{Spec, now};
use crate::process::runtime::{ProcessRuntime, unusable};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::BackendId;
use agente_engine::route::Backend;
use futures_util::stream::{self, BoxStream, StreamExt};
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Lines of a log, as they come.
pub type LogLines = BoxStream<'static, Result<String, Fault>>;

/// How often a followed log is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How much is read from a log's end at most.
const TAIL_BYTES: u64 = 4 * 1024 * 1024;

/// How much of one line is told in a report.
const REPORTED_LINE_BYTES: usize = 2000;

/// How many logs of retired backends are kept.
const RETIRED_LOGS: usize = 20;

/// The newest lines of the files, which stand newest first; oldest line first.
fn newest_lines(files: &[PathBuf], max_lines: usize) -> io::Result<VecDeque<String>> {
    let mut text = Vec::new();
    let mut ends = 0;
    for path in files {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let mut at = file.metadata()?.len();
        let mut room = TAIL_BYTES.saturating_sub(text.len() as u64);
        while at > 0 && room > 0 && ends <= max_lines {
            let piece = at.min(64 * 1024).min(room);
            at -= piece;
            room -= piece;
            file.seek(SeekFrom::Start(at))?;
            let mut before = Vec::new();
            (&file).take(piece).read_to_end(&mut before)?;
            ends += before.split(|byte| *byte == b'\n').count().saturating_sub(1);
            before.append(&mut text);
            text = before;
        }
        if at > 0 {
            break;
        }
    }
    let text = String::from_utf8_lossy(&text);
    let mut lines: VecDeque<String> = text.lines().map(str::to_owned).collect();
    lines.drain(..lines.len().saturating_sub(max_lines));
    Ok(lines)
}

/// A log and its older parts, newest first.
fn parts(log: &Path) -> Vec<PathBuf> {
    let file = LogFile::at(log);
    std::iter::once(log.to_owned())
        .chain((1..10).map(|number| file.older(number)).take_while(|path| path.exists()))
        .collect()
}

fn shortened(mut line: String) -> String {
    if line.len() > REPORTED_LINE_BYTES {
        let end =
            (0..=REPORTED_LINE_BYTES).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
        line.truncate(end);
        line.push('…');
    }
    line
}

/// Where the log of a backend is now, and what is secret in it.
struct Source {
    log: PathBuf,
    secrets: BTreeMap<String, String>,
    standing: bool,
}

/// A followed log.
struct Follow {
    directory: PathBuf,
    log: LogFile,
    file: File,
    at: u64,
    rest: Vec<u8>,
    ready: VecDeque<String>,
    mask: Mask,
    ended: bool,
}

impl Follow {
    fn read_from(&mut self, mut file: &File, at: u64) -> io::Result<u64> {
        file.seek(SeekFrom::Start(at))?;
        file.read_to_end(&mut self.rest).map(|read| read as u64)
    }

    /// Reads what is new. After a rotation the rest of what was moved aside comes first.
    fn read(&mut self) -> io::Result<()> {
        let file = self.file.try_clone()?;
        if file.metadata()?.len() < self.at {
            let aside = File::open(self.log.older(1))?;
            let moved = aside.metadata()?.len();
            if self.at < moved {
                self.read_from(&aside, self.at)?;
            }
            self.at = self.at.saturating_sub(moved);
        }
        self.at += self.read_from(&file, self.at)?;
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.ready.push_back(
                String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned(),
            );
        }
        Ok(())
    }

    async fn next(mut self) -> Option<(Result<String, Fault>, Self)> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some((Ok(self.mask.apply(&line)), self));
            }
            if self.ended {
                return None;
            }
            // Looked at before the last read, so that nothing written before the end is missed.
            let gone = !self.directory.is_dir();
            if let Err(error) = self.read() {
                self.ended = true;
                let fault = Fault::new(
                    FaultKind::Failed,
                    format!("the log `{}` can't be read any further", self.log.path().display()),
                )
                .because(&error);
                return Some((Err(fault), self));
            }
            self.ended = gone;
            if self.ready.is_empty() && !gone {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }
}

impl ProcessRuntime {
    /// The newest `lines` lines of a backend's log, oldest first, the values of its secrets masked.
    /// With `follow`, what it writes from then on as well, until it is retired. The log of a
    /// retired backend is found while it is kept.
    pub async fn logs(
        &self,
        backend: &Backend,
        lines: usize,
        follow: bool,
    ) -> Result<LogLines, Fault> {
        let (directory, source) = self.log_source(&backend.id)?;
        // A secret that can't be looked up must not keep an operator from the log: it is their own,
        // and they may read the file.
        let (mask, _) = self.mask(&directory, &backend.id.0, &source.secrets).await;
        if !follow || !source.standing {
            let lines = newest_lines(&parts(&source.log), lines)
                .map_err(|error| unusable(&directory, &error))?;
            return Ok(stream::iter(lines).map(move |line| Ok(mask.apply(&line))).boxed());
        }
        let log = LogFile::at(&source.log);
        let file = log
            .open()
            .and_then(|_| File::open(log.path()))
            .map_err(|error| unusable(&directory, &error))?;
        let ready = newest_lines(&parts(&source.log), lines)
            .map_err(|error| unusable(&directory, &error))?;
        let at = file.metadata().map_err(|error| unusable(&directory, &error))?.len();
        let follow = Follow {
            directory: directory.path().to_owned(),
            log,
            file,
            at,
            rest: Vec::new(),
            ready,
            mask,
            ended: false,
        };
        Ok(stream::unfold(follow, Follow::next).boxed())
    }

    /// The newest lines for a report that is kept. Withheld where a secret's value is not known,
    /// and could be in them.
    pub(super) async fn masked_tail(
        &self,
        backend: &BackendId,
        max_lines: usize,
    ) -> Result<Vec<String>, Fault> {
        let (directory, source) = self.log_source(backend)?;
        let lines = newest_lines(&parts(&source.log), max_lines)
            .map_err(|error| unusable(&directory, &error))?;
        let (mask, missing) = self.mask(&directory, &backend.0, &source.secrets).await;
        if let Some(fault) = missing {
            let message = format!(
                "the log of backend `{backend}` is withheld: it may contain a secret whose value \
                can't be looked up for redaction"
            );
            return Err(Fault::new(fault.kind, message)
                .hint("read it with `agente-host logs`")
                .because(&fault));
        }
        Ok(lines.into_iter().map(|line| shortened(mask.apply(&line))).collect())
    }

    fn log_source(&self, backend: &BackendId) -> Result<(BackendDirectory, Source), Fault> {
        let directory = self.directory(backend)?;
        if let Some(spec) = directory.spec().map_err(|error| unusable(&directory, &error))? {
            return Ok((
                directory.clone(),
                Source { log: directory.log(), secrets: spec.identity.secrets, standing: true },
            ));
        }
        let prefix = format!("{backend}.");
        let kept = self.retired_logs().into_iter().rev().find(|log| {
            log.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        });
        let Some(log) = kept else {
            return Err(Fault::new(
                FaultKind::Unavailable,
                format!("there is no log of backend `{backend}`"),
            ));
        };
        let names = fs::read(log.with_extension("secrets"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Ok((directory, Source { log, secrets: names, standing: false }))
    }

    fn retired_folder(&self) -> PathBuf {
        self.config.state.join("retired-logs")
    }

    /// What is kept of retired backends, oldest first: `<backend id>.<milliseconds>.log`.
    fn retired_logs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.retired_folder()).into_iter().flatten().flatten();
        let mut logs: Vec<(u64, PathBuf)> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .filter_map(|path| {
                path.file_stem()?
                    .to_str()?
                    .rsplit_once('.')?
                    .1
                    .parse()
                    .ok()
                    .map(|at| (at, path.clone()))
            })
            .collect();
        logs.sort();
        logs.into_iter().map(|(_, path)| path).collect()
    }

    /// Moves a backend's log aside, with the names of the secrets that may be in it, and forgets
    /// the oldest. A log is no reason to fail.
    pub(super) fn keep_log(
        &self,
        directory: &BackendDirectory,
        backend: &str,
        spec: Option<&Spec>,
    ) {
        let folder = self.retired_folder();
        if !fs::metadata(directory.log()).is_ok_and(|log| log.len() > 0)
            || access::make_folder(&folder).is_err()
        {
            return;
        }
        let kept = folder.join(format!("{backend}.{}.log", now().0));
        let names = spec.map(|spec| &spec.identity.secrets);
        let noted = serde_json::to_vec(&names.cloned().unwrap_or_default())
            .is_ok_and(|names| fs::write(kept.with_extension("secrets"), names).is_ok());
        if noted {
            let _kept = fs::rename(directory.log(), &kept);
        }
        let all = self.retired_logs();
        for old in all.iter().take(all.len().saturating_sub(RETIRED_LOGS)) {
            let _gone = fs::remove_file(old.with_extension("secrets"));
            let _gone = fs::remove_file(old);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn follow(folder: &Path, log: &LogFile) -> Follow {
        let (directory, file) = (folder.to_owned(), File::open(log.path()).unwrap());
        Follow {
            directory,
            log: log.clone(),
            file,
            at: 0,
            rest: Vec::new(),
            ready: VecDeque::new(),
            mask: Mask::default(),
            ended: false,
        }
    }

    #[test]
    fn a_follower_misses_no_line_and_tells_none_twice_while_the_log_is_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let log = LogFile::at(folder.path().join("log"));
        let mut backend = log.open().unwrap();
        let mut follow = follow(folder.path(), &log);
        for number in 0..20_000 {
            writeln!(backend, "line {number}").unwrap();
            if number % 97 == 0 {
                follow.read().unwrap();
            }
            if number % 1000 == 0 {
                log.rotate_when_over(32 * 1024, 3).unwrap();
            }
        }
        follow.read().unwrap();
        assert!(log.older(2).exists(), "it was rotated");
        let told: Vec<String> = follow.ready.into();
        assert_eq!(told.len(), 20_000);
        assert!(told.iter().enumerate().all(|(number, line)| *line == format!("line {number}")));
    }

    #[test]
    fn a_line_is_told_once_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let log = LogFile::at(folder.path().join("log"));
        let mut backend = log.open().unwrap();
        let mut follow = follow(folder.path(), &log);
        write!(backend, "first half, ").unwrap();
        follow.read().unwrap();
        assert!(follow.ready.is_empty());
        writeln!(backend, "second half").unwrap();
        follow.read().unwrap();
        assert_eq!(follow.ready, ["first half, second half"]);
    }
}
