//! The program needs nothing of a system but its own file, the C library and its loader: everything works in a root folder that
//! has no users, no temporary folder, no devices and no processes to look at.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::connections::{Authority, leaf, use_certificate};
use crate::support::{Server, majors, output_of};

/// A root folder with the program, what it is linked with, and a folder for archives.
struct Root {
    dir: tempfile::TempDir,
}

impl Root {
    fn new() -> Root {
        let dir = tempfile::tempdir().unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_pgark"));
        fs::copy(program, dir.path().join("pgark")).unwrap();
        let linked = output_of(Command::new("ldd").arg(program));
        let libraries = linked
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        for library in libraries {
            let inside = dir.path().join(library.trim_start_matches('/'));
            fs::create_dir_all(inside.parent().unwrap()).unwrap();
            fs::copy(library, inside).unwrap();
        }
        fs::create_dir(dir.path().join("archives")).unwrap();
        Root { dir }
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join(inside)
    }

    /// Runs the program to its successful end, with no environment but the password.
    fn run(&self, arguments: &[&str]) -> String {
        let Output {
            status,
            stdout,
            stderr,
        } = Command::new("chroot")
            .arg(self.dir.path())
            .arg("/pgark")
            .args(arguments)
            .args(["--repo", "/archives"])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("PGPASSWORD", "pgark")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
        assert!(status.success(), "{arguments:?}: {status}: {said}");
        said
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_root_folder_is_enough() {
    let is_root = output_of(Command::new("id").arg("-u")).trim() == "0";
    if !is_root {
        println!("left out: only root may call chroot(2)");
        return;
    }
    let server = Server::start(*majors().last().unwrap());
    let source = server.create_database("chroot_source");
    source.psql(
        "CREATE TABLE words (id int PRIMARY KEY, word text);
         INSERT INTO words SELECT i, md5(i::text) FROM generate_series(1, 20000) i;
         CREATE INDEX ON words (word);",
    );
    let authority = Authority::new();
    let certificate = authority.sign(&mut leaf("127.0.0.1"));
    use_certificate(&server, &certificate).await;
    let root = Root::new();
    fs::write(root.path("ca.pem"), &authority.pem).unwrap();

    for (name, how) in [
        ("plain", "sslmode=disable"),
        ("tls", "sslmode=verify-full sslrootcert=/ca.pem"),
    ] {
        let target = server.create_database("chroot_target");
        let place = |database: &crate::support::Database| {
            let tcp = database.tcp_conninfo();
            format!("{} {how}", tcp.replace(" password=pgark", ""))
        };
        let (from, into) = (place(&source), place(&target));
        root.run(&["dump", "-d", &from, "--name", name, "-j", "2"]);
        root.run(&["verify", name]);
        root.run(&[
            "restore", name, "-d", &into, "-j", "2", "--check", "content",
        ]);
        let counted = target.psql("SELECT count(*), max(word) FROM words");
        assert_eq!(
            counted,
            source.psql("SELECT count(*), max(word) FROM words")
        );
    }
    let listed = root.run(&["list"]);
    assert!(
        listed.contains("plain") && listed.contains("tls"),
        "{listed}"
    );
    let made: Vec<String> = fs::read_dir(root.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("lib") && name != "usr")
        .collect();
    assert_eq!(
        made.len(),
        3,
        "nothing is left beside the archives: {made:?}"
    );
}
