//! Running a program to its end: never through a shell, with exactly the environment it is given,
//! within its limits.

use crate::commands::group::ProcessGroup;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::ports::{CommandOutput, CommandSpec};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

/// How long output may still come once the program has ended and its group was killed: a daemon
/// that it left in a session of its own may hold its streams.
const OUTPUT_AFTER_END: Duration = Duration::from_millis(300);

/// A program that was being written a moment ago can't be run yet: how often and how long that is
/// waited for.
const BUSY_TRIES: u32 = 10;
const BUSY_WAIT: Duration = Duration::from_millis(20);

/// What was read of a stream so far. Kept outside the reading, so that it is there when the reading
/// is given up.
struct Captured {
    bytes: Vec<u8>,
    max_bytes: usize,
    truncated: bool,
}

impl Captured {
    fn new(max_bytes: usize) -> Self {
        Self { bytes: Vec::new(), max_bytes, truncated: false }
    }

    /// Reads to the end, keeping the first `max_bytes`: what is beyond is read and dropped, so that
    /// the program is not held up.
    async fn fill(&mut self, mut stream: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read) = stream.read(&mut buffer).await {
            if read == 0 {
                return;
            }
            let room = self.max_bytes.saturating_sub(self.bytes.len());
            self.truncated |= read > room;
            self.bytes.extend_from_slice(buffer.get(..read.min(room)).unwrap_or_default());
        }
    }
}

/// Runs a program on this machine.
pub(super) async fn run(command: &CommandSpec) -> Result<CommandOutput, Fault> {
    let (program, arguments) = match command.argv.split_first() {
        Some((program, arguments)) if program.starts_with('/') => (program, arguments),
        _ => {
            let given = command.argv.first().map_or("", String::as_str);
            return Err(Fault::new(
                FaultKind::InvalidConfig,
                format!("the program `{given}` is not an absolute path"),
            )
            .hint("give its absolute path"));
        }
    };
    let mut prepared = Command::new(program);
    prepared
        .args(arguments)
        .env_clear()
        .envs(&command.env)
        .current_dir(command.cwd.as_deref().unwrap_or("/"));
    prepared.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let failed = |error: io::Error| not_started(program, command, &error);
    let mut tries = 0;
    let child = loop {
        match prepared.spawn() {
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES =>
            {
                tries += 1;
                tokio::time::sleep(BUSY_WAIT).await;
            }
            spawned => break spawned.map_err(failed)?,
        }
    };
    let mut group = ProcessGroup::new(child).map_err(failed)?;
    let streams =
        group.streams().map(|child| (child.stdin.take(), child.stdout.take(), child.stderr.take()));
    let Some((Some(stdin), Some(stdout), Some(stderr))) = streams else {
        return Err(Fault::new(
            FaultKind::Internal,
            format!("`{program}` was started without its streams"),
        ));
    };
    let mut stdin = ChildStdin::from_std(stdin).map_err(failed)?;
    let (stdout, stderr) = (
        ChildStdout::from_std(stdout).map_err(failed)?,
        ChildStderr::from_std(stderr).map_err(failed)?,
    );
    let (mut out, mut err) =
        (Captured::new(command.max_output_bytes), Captured::new(command.max_output_bytes));
    let timed_out;
    {
        let feed = async {
            // A program need not read all, or any, of its input.
            let _unread = stdin.write_all(&command.stdin).await;
            drop(stdin);
        };
        let talk = async {
            futures_util::join!(feed, out.fill(stdout), err.fill(stderr));
        };
        let mut talk = std::pin::pin!(talk);
        let mut talked = false;
        let deadline = tokio::time::sleep(command.wall);
        let mut deadline = std::pin::pin!(deadline);
        timed_out = loop {
            tokio::select! {
                biased;
                ended = group.ended() => break ended.map(|()| false).map_err(failed)?,
                () = &mut deadline => break true,
                () = &mut talk, if !talked => talked = true,
            }
        };
        group.kill();
        if !talked {
            let _cut = tokio::time::timeout(OUTPUT_AFTER_END, &mut talk).await;
        }
    }
    let status = group.finish().await.map_err(|error| {
        Fault::new(FaultKind::Failed, format!("can't tell how `{program}` exited")).because(&error)
    })?;
    if status.is_none() {
        tracing::warn!(
            "`{program}` did not exit within {:?} and can't be killed: it is still running, \
             possibly as another user",
            command.wall
        );
    }
    Ok(CommandOutput {
        status: status.and_then(|status| status.code()),
        signal: status.and_then(|status| status.signal()),
        timed_out,
        truncated: out.truncated || err.truncated,
        stdout: out.bytes,
        stderr: err.bytes,
    })
}

fn not_started(program: &str, command: &CommandSpec, error: &io::Error) -> Fault {
    let folder = command.cwd.as_deref().unwrap_or("/");
    let hint = if !std::path::Path::new(folder).is_dir() {
        format!("its working directory `{folder}` does not exist")
    } else if error.kind() == io::ErrorKind::NotFound {
        format!("install `{program}`, or correct its path")
    } else {
        format!("check that `{program}` is executable and that you have permission to run it")
    };
    Fault::new(FaultKind::Failed, format!("the program `{program}` can't be run"))
        .hint(hint)
        .because(error)
}
