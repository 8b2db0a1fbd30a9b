use super::*;

/// A component without anything in it.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

struct Kept {
    folder: tempfile::TempDir,
    engine: Engine,
    digest: Digest,
    code: PathBuf,
    proof: PathBuf,
}

impl Kept {
    /// A cache that holds one component.
    fn new() -> Self {
        let (folder, engine) = (tempfile::tempdir().unwrap(), Engine::default());
        let digest = crate::component::digest_of(EMPTY);
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        let (code, proof) = cache.paths(&engine, &digest);
        let kept = Self { folder, engine, digest, code, proof };
        kept.keep();
        kept
    }

    /// Opened anew, as the next run does.
    fn cache(&self) -> Cache {
        Cache::open(&self.folder.path().join("cache")).unwrap()
    }

    fn keep(&self) {
        self.cache().keep(
            &self.engine,
            &self.digest,
            &Component::new(&self.engine, EMPTY).unwrap(),
        );
    }

    fn is_taken(&self) -> bool {
        self.cache().load(&self.engine, &self.digest).is_some()
    }
}

#[test]
fn whatever_is_not_as_it_was_written_is_not_taken_and_is_removed() {
    let kept = Kept::new();
    assert!(kept.is_taken());
    let (code, proof) = (&kept.code, &kept.proof);
    let whole = fs::read(code).unwrap();
    let changed = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let allow = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let link = |path: &Path| {
        let elsewhere = kept.folder.path().join("elsewhere");
        fs::rename(path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, path).unwrap();
    };
    let damage: [(&str, &dyn Fn()); 15] = [
        ("its first byte changed", &|| fs::write(code, changed(0)).unwrap()),
        ("a byte in the middle changed", &|| fs::write(code, changed(whole.len() / 2)).unwrap()),
        ("its last byte changed", &|| fs::write(code, changed(whole.len() - 1)).unwrap()),
        ("cut off", &|| fs::write(code, &whole[..whole.len() / 3]).unwrap()),
        ("emptied", &|| fs::write(code, b"").unwrap()),
        ("longer than it was", &|| fs::write(code, [&whole[..], b"more"].concat()).unwrap()),
        ("readable by others", &|| allow(code, 0o644)),
        ("writable by others", &|| allow(code, 0o666)),
        ("a link", &|| link(code)),
        ("without its proof", &|| fs::remove_file(proof).unwrap()),
        ("with another proof", &|| fs::write(proof, [7; 32]).unwrap()),
        ("with a part of its proof", &|| {
            fs::write(proof, &fs::read(proof).unwrap()[..16]).unwrap();
        }),
        ("with a proof that others can write", &|| allow(proof, 0o666)),
        ("with a proof by a link", &|| link(proof)),
        ("with another key", &|| {
            fs::write(kept.folder.path().join("cache/key"), [9; KEY_BYTES]).unwrap();
        }),
    ];
    for (what, damage) in damage {
        damage();
        assert!(!kept.is_taken(), "{what}");
        assert!(fs::symlink_metadata(code).is_err(), "{what}: it was left there");
        kept.keep();
        assert!(kept.is_taken(), "{what} was not mended");
    }
}

#[test]
fn proven_code_does_not_stand_for_another_component_or_another_host() {
    let kept = Kept::new();
    let other = crate::component::digest_of(b"another");
    let (code, proof) = kept.cache().paths(&kept.engine, &other);
    fs::copy(&kept.code, &code).unwrap();
    fs::copy(&kept.proof, &proof).unwrap();
    assert!(
        kept.cache().load(&kept.engine, &other).is_none(),
        "code and proof are whole, and another component's"
    );
    let mut config = wasmtime::Config::new();
    config.epoch_interruption(true);
    assert!(
        kept.cache().load(&Engine::new(&config).unwrap(), &kept.digest).is_none(),
        "compiled with other settings"
    );
    assert!(kept.is_taken());
}

#[test]
fn the_proof_is_of_all_bytes_however_they_are_read() {
    struct Sips<'a>(&'a [u8]);
    impl std::io::Read for Sips<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let length = buffer.len().min(7).min(self.0.len());
            let (now, later) = self.0.split_at(length);
            buffer[..length].copy_from_slice(now);
            self.0 = later;
            Ok(length)
        }
    }
    let kept = Kept::new();
    let bytes: Vec<u8> =
        (0..3 * PROOF_BUFFER_BYTES + 5).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let cache = kept.cache();
    let whole = cache.proof_of(&kept.code, &mut bytes.as_slice()).unwrap();
    assert_eq!(cache.proof_of(&kept.code, &mut Sips(&bytes)).unwrap(), whole);
    assert_ne!(
        cache.proof_of(&kept.proof, &mut bytes.as_slice()).unwrap(),
        whole,
        "the name is part of it"
    );
}

#[test]
fn a_guess_is_what_the_path_held_last_and_proven_like_any_other() {
    let kept = Kept::new();
    let path = kept.folder.path().join("plugin.wasm");
    let guess = || kept.cache().guess(&kept.engine, &path).map(|(digest, _)| digest);
    assert_eq!(guess(), None);
    kept.cache().remember(&path, EMPTY, &kept.digest);
    assert_eq!(guess(), Some(kept.digest.clone()));
    kept.cache().remember(&path, b"another", &crate::component::digest_of(b"another"));
    assert_eq!(guess(), None, "which was never compiled");
    fs::write(kept.cache().memory_of(&path), "sha256:../../elsewhere").unwrap();
    assert_eq!(guess(), None);
    kept.cache().remember(&path, EMPTY, &kept.digest);
    fs::write(&kept.code, b"altered").unwrap();
    assert_eq!(guess(), None);
}

#[test]
fn a_digest_is_remembered_for_the_very_bytes_that_it_was_taken_of() {
    let kept = Kept::new();
    let path = kept.folder.path().join("plugin.wasm");
    let known = |bytes: &[u8]| kept.cache().digest_of(&path, bytes);
    assert_eq!(known(EMPTY), None);
    kept.cache().remember(&path, EMPTY, &kept.digest);
    assert_eq!(known(EMPTY), Some(kept.digest.clone()));
    assert_eq!(known(b"\0asm\x0d\0\x01\x01"), None, "one bit differs");
    assert_eq!(
        kept.cache().digest_of(&kept.folder.path().join("other.wasm"), EMPTY),
        None,
        "another path"
    );

    // What is remembered is worth nothing without the key, nor with another digest in it.
    let memory = kept.cache().memory_of(&path);
    let text = fs::read_to_string(&memory).unwrap();
    let other = crate::component::digest_of(b"another");
    let forged = [
        text.replace(kept.digest.as_str(), other.as_str()),
        format!("{} {}", kept.digest, blake3::hash(EMPTY).to_hex()),
        kept.digest.to_string(),
        String::new(),
    ];
    for forged in forged {
        fs::write(&memory, &forged).unwrap();
        assert_eq!(known(EMPTY), None, "{forged}");
    }
    fs::write(&memory, &text).unwrap();
    fs::set_permissions(&memory, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(known(EMPTY), None, "others can read it");
    fs::set_permissions(&memory, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(known(EMPTY), Some(kept.digest.clone()));
    fs::write(kept.folder.path().join("cache/key"), [9; KEY_BYTES]).unwrap();
    assert_eq!(known(EMPTY), None, "another key");
}
