use super::*;
use crate::other_process::{Other, child_folder};
use crate::sample;
use agente_engine::ports::Releases;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

struct Bench {
    folder: tempfile::TempDir,
    store: EmbeddedStore,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = sample::store(&folder.path().join("state")).await;
        Self { folder, store }
    }

    /// Writes a program to be imported.
    fn program(&self, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    async fn import(&self, path: &Path) -> (Digest, PathBuf) {
        match self.store.import_artifact(path).await.unwrap() {
            Artifact::File { digest, name } => {
                (digest.clone(), self.store.artifact_path(&digest, &name).unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.store.directory.artifacts())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Makes an artifact look old enough to be pruned.
    fn age(&self, digest: &Digest) {
        let folder = folder_of(&self.store.directory.artifacts(), digest);
        File::open(folder)
            .unwrap()
            .set_modified(SystemTime::now() - YOUNG - Duration::from_secs(1))
            .unwrap();
    }
}

#[tokio::test]
async fn a_program_is_kept_under_its_digest_whole_executable_and_read_only() {
    let bench = Bench::new().await;
    let bytes: Vec<u8> = (0..1_000_003_u32)
        .map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1])
        .collect();
    let (digest, path) = bench.import(&bench.program("shop", &bytes, 0o4755)).await;
    assert_eq!(
        path,
        bench
            .store
            .directory
            .root()
            .join(format!("artifacts/{}/shop", hex::encode(Sha256::digest(&bytes))))
    );
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(
        std::fs::metadata(&path).unwrap().mode() & 0o7777,
        0o555,
        "executable, and neither writable nor set-uid"
    );
    bench.store.verify_artifact(&digest, "shop").await.unwrap();

    let (_, text) = bench.import(&bench.program("notes.txt", b"plain", 0o644)).await;
    assert_eq!(std::fs::metadata(&text).unwrap().mode() & 0o7777, 0o444);
    assert_eq!(bench.names().len(), 2, "nothing but the two is left: {:?}", bench.names());
}

#[tokio::test]
async fn the_same_bytes_are_kept_once_and_a_damaged_copy_is_replaced() {
    let bench = Bench::new().await;
    let source = bench.program("shop", b"version 1", 0o755);
    let (digest, path) = bench.import(&source).await;
    let inode = std::fs::metadata(&path).unwrap().ino();
    assert_eq!(bench.import(&source).await.1, path);
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode, "copied although it was there");

    for damage in ["version 2", ""] {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, damage).unwrap();
        let fault = bench.store.verify_artifact(&digest, "shop").await.unwrap_err();
        assert!(fault.message.contains("is corrupt") && fault.hint.is_some(), "{fault:?}");
        bench.import(&source).await;
        assert_eq!(std::fs::read(&path).unwrap(), b"version 1");
        bench.store.verify_artifact(&digest, "shop").await.unwrap();
    }
    std::fs::remove_file(&path).unwrap();
    assert!(
        bench
            .store
            .verify_artifact(&digest, "shop")
            .await
            .unwrap_err()
            .message
            .contains("can't be read")
    );
}

#[tokio::test]
async fn what_an_interrupted_import_left_is_never_taken_for_an_artifact_and_is_swept() {
    let bench = Bench::new().await;
    let source = bench.program("shop", b"version 1", 0o755);
    let digest = digest_of(&source).unwrap();
    let folder = folder_of(&bench.store.directory.artifacts(), &digest);
    // A copy that stopped half-way, and a folder that was made for it.
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(bench.store.directory.artifacts().join(".partial-0011"), b"versi").unwrap();
    std::fs::create_dir(bench.store.directory.artifacts().join(".partial-2233")).unwrap();
    assert!(bench.store.verify_artifact(&digest, "shop").await.is_err());
    let (_, path) = bench.import(&source).await;
    assert_eq!(std::fs::read(path).unwrap(), b"version 1");
    assert_eq!(bench.names(), [folder.file_name().unwrap().to_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_killed_while_it_copies_leaves_no_artifact_and_the_next_import_succeeds() {
    if let Some(folder) = child_folder() {
        let store = sample::store(&folder.join("state")).await;
        println!("child: ready");
        store.import_artifact(&folder.join("shop")).await.unwrap();
        return;
    }
    let bench = Bench::new().await;
    let source = bench.program("shop", &vec![1; 64 * 1024 * 1024], 0o755);
    let mut other = Other::start(
        "artifacts::tests::a_host_that_is_killed_while_it_copies_leaves_no_artifact_and_the_next_import_succeeds",
        bench.folder.path(),
    );
    assert_eq!(other.says(), "ready");
    // The partial copy is there from its first byte to its rename.
    while !bench.names().iter().any(|name| name.starts_with(PARTIAL)) {
        std::thread::yield_now();
    }
    other.kill();
    assert!(
        bench.names().iter().any(|name| name.starts_with(PARTIAL)),
        "it was killed too late: {:?}",
        bench.names()
    );
    let digest = digest_of(&source).unwrap();
    assert!(bench.store.verify_artifact(&digest, "shop").await.is_err());

    let (found, path) = bench.import(&source).await;
    assert_eq!((found, digest_of(&path).unwrap()), (digest.clone(), digest));
    assert_eq!(bench.names().len(), 1, "{:?}", bench.names());
}

#[tokio::test]
async fn what_is_no_program_file_is_refused_by_name_before_anything_is_written() {
    let bench = Bench::new().await;
    let folder = bench.folder.path();
    let pipe = folder.join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let empty = bench.program("empty", b"", 0o755);
    for (path, words) in [
        (folder.join("missing"), "missing` does not exist"),
        (folder.to_owned(), "is a directory"),
        (pipe, "pipe` is not a regular file"),
        (empty, "empty` is empty"),
        (folder.join("empty/shop"), "can't be read"),
    ] {
        let fault = Fault::from(bench.store.import_artifact(&path).await.unwrap_err());
        assert!(
            fault.kind == FaultKind::InvalidConfig
                && fault.message.contains(words)
                && fault.hint.is_some(),
            "{fault:?}"
        );
    }
    assert_eq!(bench.names(), Vec::<String>::new());
}

#[tokio::test]
async fn a_program_that_is_still_being_written_is_refused() {
    let bench = Bench::new().await;
    let source = bench.program("shop", b"half of it", 0o755);
    let early = digest_of(&source).unwrap();
    std::fs::write(&source, b"half of it and the other half").unwrap();
    let access = bench.store.directory.access().unwrap();
    let partial = bench.folder.path().join("partial");
    let error = copy(&source, &partial, 0o555, access, &early, &source).unwrap_err();
    assert!(matches!(error, ImportError::Changed { .. }) && Fault::from(error).retryable);
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_at_once_of_one_file_all_succeed() {
    let bench = Bench::new().await;
    let source = bench.program("shop", &vec![7; 300_000], 0o755);
    let tasks: Vec<_> = (0..12)
        .map(|_| {
            let (store, source) = (bench.store.clone(), source.clone());
            tokio::spawn(async move { store.import_artifact(&source).await.unwrap() })
        })
        .collect();
    let mut artifacts = Vec::new();
    for task in tasks {
        artifacts.push(task.await.unwrap());
    }
    assert!(artifacts.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(bench.names().len(), 1);
}

#[tokio::test]
async fn a_path_is_only_made_from_a_plain_file_name() {
    let bench = Bench::new().await;
    let digest = Digest::new(format!("sha256:{}", "ab".repeat(32))).unwrap();
    for name in ["", ".", "..", "../shop", "/shop", "bin/shop", "shop/"] {
        assert!(bench.store.artifact_path(&digest, name).is_err(), "`{name}` was taken");
    }
    assert!(bench.store.artifact_path(&digest, "shop 2.bin").is_ok());
}

#[tokio::test]
async fn pruning_keeps_what_is_new_needed_standing_or_young() {
    let bench = Bench::new().await;
    let scope = sample::scope("shop");
    let mut digests = Vec::new();
    for number in 1..=6_u8 {
        let source = bench.program("shop", &[number; 10], 0o755);
        let artifact = bench.store.import_artifact(&source).await.unwrap();
        digests.push(digest_of(&source).unwrap());
        // The sixth was imported, and its release not made yet.
        if number < 6 {
            bench.store.create_release(&scope, artifact, sample::runtime()).await.unwrap();
        }
    }
    // Release 1 is stable, release 2 is being deployed.
    let open = sample::open_deployment(&bench.store, "shop").await;
    let second = open.next("d-2", 2).await;
    let state = ServiceState { open: Some(second.clone()), ..sample::closed_state() };
    let resumed = agente_engine::journal::Event::Resumed { by: "ann".into() };
    sample::append(&bench.store, open.fence(), &second, &resumed, &state).await.unwrap();

    assert_eq!(bench.store.prune_artifacts(1).await.unwrap(), Pruned::default(), "all are young");
    for digest in &digests {
        bench.age(digest);
    }
    bench.import(&bench.program("shop", &[6; 10], 0o755)).await;
    let pruned = bench.store.prune_artifacts(1).await.unwrap();
    let mut removed = digests[2..4].to_vec();
    removed.sort();
    assert_eq!(
        pruned,
        Pruned { digests: removed, bytes: 20 },
        "releases 3 and 4 are neither newest nor in use"
    );
    assert_eq!(bench.names().len(), 4);
    bench.store.verify_artifact(&digests[0], "shop").await.unwrap();
    bench.store.verify_artifact(&digests[5], "shop").await.unwrap();
    assert_eq!(bench.store.releases(&scope, 10).await.unwrap().len(), 5, "releases stay");
}
